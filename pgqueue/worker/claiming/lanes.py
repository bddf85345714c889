"""Which lanes (a queue and a priority) a claimer looks into, in which order, and from where on. Pure.

Cursor: how far a lane had been claimed a moment ago. Rows behind it are dead index entries that cannot be removed while some
session holds an old snapshot, so claims start there. It is only a hint: a sweep looks behind the cursors for what committed
late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pgqueue.worker.claiming.served_queues import ServedQueues

LAG = 0.2  # seconds, at least, that a cursor is behind: what commits so late is found without a sweep
FORGET = 60.0  # seconds without a job after which a lane is looked for again
MANY = 16  # lanes up to which none is forgotten
CROSSED = 500  # lanes up to which each queue is looked into for every priority seen in any
SHARE = 8  # one claim in so many begins with a lane that has waited beyond patience
LOWEST, HIGHEST = -32_769, 32_768  # beyond any priority

Name = tuple[str, int]
Place = tuple[float, int]  # run_at (epoch seconds) and id
START: Place = (0.0, 0)


class Cursor:
    """Where a lane's claims begin, and how far they have come since."""

    def __init__(self) -> None:
        self.place = self._next = self._reached = START
        self._at = 0.0

    def reach(self, place: Place, now: float) -> None:
        self._reached = max(self._reached, place)
        if now - self._at >= LAG:
            self.place, self._next, self._at = self._next, self._reached, now


class Lanes:
    def __init__(self, served: ServedQueues, patience: float = 60.0) -> None:
        self._served, self._patience = served, patience
        self._overdue: list[Name] = []
        self._cursors: dict[Name, Cursor] = {}
        self._seen: dict[Name, float] = {}
        self._sweep: dict[Name, Place] = {}
        self._by_priority: dict[int, list[str]] = {}
        self._turn = 0
        self.matched: list[str] = []  # queues found to fit a pattern

    def __len__(self) -> int:
        return len(self._cursors)

    def see(self, lanes: Iterable[Name], now: float) -> bool:
        """Lanes that hold jobs; whether one of them was unknown. Forgets those that have been empty for long."""
        found = set(lanes)
        new = found - self._cursors.keys()
        if new:
            # An urgent job rarely comes alone: where else it may be is known before the next look for lanes.
            queues = {queue for queue, _ in (*found, *self._cursors)}
            priorities = {priority for _, priority in (*found, *self._cursors)}
            if len(queues) * len(priorities) <= CROSSED:
                found |= {(queue, priority) for queue in queues for priority in priorities}
        self._seen.update(dict.fromkeys(found, now))
        for lane in found - self._cursors.keys():
            self._cursors[lane] = Cursor()
        many = len(self._cursors) > MANY
        old = [lane for lane, seen in self._seen.items() if many and now - seen > FORGET]
        for lane in old:
            del self._seen[lane], self._cursors[lane]
            self._sweep.pop(lane, None)
        if new or old:
            self._by_priority = {}
            for queue, priority in sorted(self._cursors, key=self._place):
                self._by_priority.setdefault(priority, []).append(queue)
        return bool(new)

    @property
    def moved(self) -> bool:
        """Whether anything can lie behind a cursor."""
        return any(cursor.place > START for cursor in self._cursors.values())

    @property
    def urgency(self) -> bool:
        """Whether some jobs are more urgent than others."""
        return len(self._by_priority) > 1

    def _place(self, lane: Name) -> tuple[int, int, str]:
        return lane[1], self._served.place(lane[0]), lane[0]

    def in_turn(self, keys: Sequence[str]) -> list[Name]:
        """The lanes of these names and patterns: urgent ones first, queues of one priority each first in its turn.

        One turn in SHARE begins with a lane that waits beyond patience: nothing starves, and urgent jobs keep the rest.
        """
        self._turn += 1
        found: list[Name] = []
        if self._overdue and self._turn % SHARE == 0:
            waiting = [lane for lane in self._overdue if self._served.key(lane[0]) in keys]
            found = waiting[self._turn // SHARE % len(waiting) :][:1] if waiting else []
        for priority, queues in self._by_priority.items():
            start = self._turn % len(queues)
            turned = (*queues[start:], *queues[:start])
            found += [
                (queue, priority)
                for queue in turned
                if self._served.key(queue) in keys and (queue, priority) not in found[:1]
            ]
        return found

    def wait(self, seconds: Mapping[Name, float]) -> None:
        """How long the first job of each lane has been due. Beyond ``patience``, urgent lanes no longer overtake it at every claim."""
        self._overdue = sorted(
            lane for lane, waited in seconds.items() if waited > self._patience and lane in self._cursors
        )

    def all(self) -> list[Name]:
        """Every lane, urgent ones first. Takes no lane's turn."""
        return [(queue, priority) for priority, queues in self._by_priority.items() for queue in queues]

    def since(self, lanes: Sequence[Name]) -> list[Place]:
        """From where on to look."""
        return [self._sweep.get(lane, self._cursors[lane].place) for lane in lanes]

    def gaps(self) -> list[tuple[str, int, int]]:
        """(queue, priority, priority): a lane that is not known yet lies between two such priorities."""
        known: dict[str, list[int]] = {queue: [] for queue in (*self._served.names, *self.matched)}
        for priority, queues in self._by_priority.items():
            for queue in queues:
                known.setdefault(queue, []).append(priority)
        found = []
        for queue, priorities in known.items():
            bounds = [LOWEST, *sorted(priorities), HIGHEST]
            found += [(queue, low, high) for low, high in pairwise(bounds) if high - low > 1]
        return found

    def queues(self) -> list[str]:
        return list(dict.fromkeys([*self._served.names, *(queue for queue, _ in self._cursors)]))

    # ---------------------------------------------------------------- sweeping

    @property
    def sweeping(self) -> bool:
        return bool(self._sweep)

    def sweep(self, since: float = 0.0) -> None:
        """From now on look behind the cursors, down to this run_at."""
        place = (since, 0)
        for lane, cursor in self._cursors.items():
            if place < cursor.place:
                self._sweep[lane] = min(place, self._sweep.get(lane, place))

    def advance(
        self, claimed: Iterable[tuple[Name, Place]], now: float, *, exhausted: Iterable[Name] = ()
    ) -> None:
        """Notes what was claimed, and in which lanes nothing more lies behind the cursors."""
        furthest: dict[Name, Place] = {}
        for lane, place in claimed:
            if place > furthest.get(lane, START):
                furthest[lane] = place
        for lane, place in furthest.items():
            self._cursors[lane].reach(place, now)
            if lane in self._sweep:
                self._sweep[lane] = max(self._sweep[lane], place)
        for lane in exhausted:
            self._sweep.pop(lane, None)
        if self._sweep:
            self._sweep = {
                lane: place for lane, place in self._sweep.items() if place < self._cursors[lane].place
            }
