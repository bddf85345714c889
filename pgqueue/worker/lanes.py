"""Which lanes (a queue and a priority) a claimer looks into, in which order, and from where on. Pure.

Cursor: how far a lane has been claimed. Rows behind it are dead index entries that nobody can remove while some session holds
an old snapshot, so claims start there. It is only a hint: a sweep looks behind the cursors for what committed late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pgqueue.config import ServedQueues

MARGIN = 0.5  # seconds a cursor stays behind the last claimed run_at
FORGET = 60.0  # seconds without a job after which a lane is looked for anew
MANY = 16  # lanes up to which none is forgotten
LOWEST, HIGHEST = -32_769, 32_768  # beyond any priority

Name = tuple[str, int]


class Lanes:
    def __init__(self, served: ServedQueues) -> None:
        self._served = served
        self._cursors: dict[Name, float] = {}
        self._seen: dict[Name, float] = {}
        self._sweep: dict[Name, float] = {}
        self._by_priority: dict[int, list[str]] = {}
        self._turn = 0
        self.matched: list[str] = []  # queues found to fit a pattern

    def __len__(self) -> int:
        return len(self._cursors)

    def see(self, lanes: Iterable[Name], now: float) -> bool:
        """Lanes that hold jobs; whether one of them was unknown. Forgets those that have been empty for long."""
        new = False
        for lane in lanes:
            self._seen[lane] = now
            if lane not in self._cursors:
                new = True
                self._cursors[lane] = 0.0
        old = [lane for lane, seen in self._seen.items() if now - seen > FORGET]
        if len(self._cursors) > MANY:
            for lane in old:
                del self._seen[lane], self._cursors[lane]
                self._sweep.pop(lane, None)
        if new or old:
            self._by_priority = {}
            for queue, priority in sorted(self._cursors, key=self._place):
                self._by_priority.setdefault(priority, []).append(queue)
        return new

    def _place(self, lane: Name) -> tuple[int, int, str]:
        return lane[1], self._served.place(lane[0]), lane[0]

    def in_turn(self, keys: Sequence[str]) -> list[Name]:
        """The lanes of these names and patterns: urgent ones first, queues of one priority each first in its turn."""
        self._turn += 1
        found = []
        for priority, queues in self._by_priority.items():
            start = self._turn % len(queues)
            turned = (*queues[start:], *queues[:start])
            found += [(queue, priority) for queue in turned if self._served.key(queue) in keys]
        return found

    def since(self, lanes: Sequence[Name]) -> list[float]:
        """From which run_at on to look (0 is the beginning)."""
        return [self._sweep.get(lane, self._cursors[lane]) for lane in lanes]

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
        """From now on look behind the cursors, down to ``since``."""
        for lane, cursor in self._cursors.items():
            if since < cursor:
                self._sweep[lane] = min(since, self._sweep.get(lane, cursor))

    def advance(self, claimed: Iterable[tuple[Name, float]], *, full: bool) -> None:
        """Notes what was claimed, each with its run_at. Unless that filled the claim, nothing more lies behind the cursors."""
        for lane, run_at in claimed:
            reached = run_at - MARGIN
            self._cursors[lane] = max(self._cursors[lane], reached)
            if lane in self._sweep:
                self._sweep[lane] = max(self._sweep[lane], reached)
        self._sweep = (
            {lane: at for lane, at in self._sweep.items() if at < self._cursors[lane]} if full else {}
        )
