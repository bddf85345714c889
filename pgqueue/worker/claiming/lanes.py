"""Keeps the lanes that a claimer knows, and decides in which order a claim scans them. Does no I/O; the caller passes the time.

A lane is a queue and a priority. A survey (``survey_lanes.sql``) finds out which of the known lanes have jobs, by one probe of an index for
each of them. It also probes the gaps between the known priorities of each queue, and so finds new lanes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from pgqueue.database.statements.claiming import Lane
from pgqueue.worker.claiming.cursors import Cursors
from pgqueue.worker.claiming.served_queues import ServedQueues

FORGET = 60.0  # a lane is forgotten if no survey has found a job in it for this many seconds
FEW_LANES = 16  # if there are at most this many lanes, no lane is forgotten
CROSSED = 500  # if the known queues and priorities give at most this many combinations, claims scan all combinations
OVERDUE_SHARE = (
    8  # one of this many claims begins with a lane whose first job has been due for longer than the patience
)
LOWEST, HIGHEST = -32_769, 32_768  # below the lowest and above the highest possible priority


class Lanes:
    """``patience``: for how many seconds more urgent jobs are allowed to overtake a due job."""

    def __init__(self, served: ServedQueues, patience: float = 60.0) -> None:
        self._served, self._patience = served, patience
        self.cursors = Cursors()
        self.matched: list[str] = []  # existing queues that match a pattern of -Q
        self._seen: dict[Lane, float] = {}  # when a survey last found a job in each lane
        self._by_priority: dict[int, list[str]] = {}
        self._overdue: list[Lane] = []
        self._claims = 0

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, lanes: Iterable[Lane], now: float) -> bool:
        """Notes the lanes that have jobs, and forgets lanes that have been empty for long. Returns whether any of ``lanes`` was unknown."""
        found = set(lanes)
        new = found - self._seen.keys()
        if new:
            found |= self._crossed(found)
        self._seen.update(dict.fromkeys(found, now))
        are_many = len(self._seen) > FEW_LANES
        old = [lane for lane, seen in self._seen.items() if are_many and now - seen > FORGET]
        for lane in old:
            del self._seen[lane]
            self.cursors.forget(lane)
        if new or old:
            self._by_priority = {}
            for queue, priority in sorted(self._seen, key=self._rank):
                self._by_priority.setdefault(priority, []).append(queue)
        return bool(new)

    def _crossed(self, found: set[Lane]) -> set[Lane]:
        """Returns every combination of a known queue and a known priority, or no lane if these are more than CROSSED.

        If one queue has urgent jobs, other queues will probably get urgent jobs, too. Claims then find these jobs before the next survey.
        """
        queues = {queue for queue, _ in (*found, *self._seen)}
        priorities = {priority for _, priority in (*found, *self._seen)}
        if len(queues) * len(priorities) > CROSSED:
            return set()
        return {(queue, priority) for queue in queues for priority in priorities}

    def _rank(self, lane: Lane) -> tuple[int, int, str]:
        return lane[1], self._served.rank(lane[0]), lane[0]

    @property
    def has_urgent(self) -> bool:
        """Returns whether the known lanes have more than one priority."""
        return len(self._by_priority) > 1

    # ---------------------------------------------------------------- the lanes of a claim

    def in_order(self, serving: Collection[str]) -> list[Lane]:
        """Returns the lanes for one claim, in the order in which it scans them. ``serving``: the names and patterns of -Q that it serves.

        More urgent lanes come before less urgent lanes. Among the lanes of one priority, a different lane comes first in each claim.

        But one claim of every OVERDUE_SHARE begins with a lane whose first job has been due for longer than the patience. So every job
        starts at some time, although all other claims prefer urgent jobs.
        """
        self._claims += 1
        found = self._first_overdue(serving)
        for priority, queues in self._by_priority.items():
            start = self._claims % len(queues)
            found += [
                (queue, priority)
                for queue in (*queues[start:], *queues[:start])
                if self._served.serving_name(queue) in serving and (queue, priority) not in found[:1]
            ]
        return found

    def _first_overdue(self, serving: Collection[str]) -> list[Lane]:
        turn, other = divmod(self._claims, OVERDUE_SHARE)
        if other or not self._overdue:
            return []
        waiting = [lane for lane in self._overdue if self._served.serving_name(lane[0]) in serving]
        return [waiting[turn % len(waiting)]] if waiting else []

    def note_waits(self, waits: Mapping[Lane, float]) -> None:
        """Notes for how many seconds the first job of each lane has been due."""
        self._overdue = sorted(
            lane for lane, waited in waits.items() if waited > self._patience and lane in self._seen
        )

    # ---------------------------------------------------------------- the lanes and gaps of a survey

    def all(self) -> list[Lane]:
        """Returns every lane, the most urgent first. In contrast to ``in_order``, this does not change the order of the next claim."""
        return [(queue, priority) for priority, queues in self._by_priority.items() for queue in queues]

    def gaps(self) -> list[tuple[str, int, int]]:
        """Returns the gaps in which a survey looks for unknown lanes. A gap is a queue and two priorities between which a lane can lie."""
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
        return list(dict.fromkeys([*self._served.names, *(queue for queue, _ in self._seen)]))
