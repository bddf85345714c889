"""Keeps, for each lane, the position at which claims begin to scan. Does no I/O; the caller passes the time.

A cursor is the position that the claims from a lane had reached a moment ago. The index entries before the cursor belong to jobs that are
already claimed. Postgres cannot remove these entries while any session holds an old snapshot. So claims start at the cursor and do not read
them. But a transaction can still commit a job whose position is before the cursor. A look behind the cursors finds such a job.
``late_commits.py`` decides when to look behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pgqueue.database.statements.claiming import Lane, Position

# A cursor stays at least this many seconds behind the claims. So if the commit of a job is late by less than this, claims find the job
# without a look behind.
LAG = 0.2
START: Position = (0.0, 0)


class Cursor:
    """The position at which the claims from a lane begin, and the furthest position that these claims have reached."""

    def __init__(self) -> None:
        self.position = self._next = self._reached = START
        self._moved_at = 0.0

    def reach(self, position: Position, now: float) -> None:
        self._reached = max(self._reached, position)
        if now - self._moved_at >= LAG:
            self.position, self._next, self._moved_at = self._next, self._reached, now


class Cursors:
    def __init__(self) -> None:
        self._cursors: defaultdict[Lane, Cursor] = defaultdict(Cursor)
        # For each lane in which claims are looking behind the cursor: the position that these claims have reached.
        self._behind: dict[Lane, Position] = {}

    def forget(self, lane: Lane) -> None:
        self._cursors.pop(lane, None)
        self._behind.pop(lane, None)

    @property
    def have_moved(self) -> bool:
        """Returns whether at least one cursor is no longer at the start of its lane, so that jobs can lie before the cursor."""
        return any(cursor.position > START for cursor in self._cursors.values())

    @property
    def is_looking_behind(self) -> bool:
        """Returns whether a look behind the cursors has begun and is not yet complete."""
        return bool(self._behind)

    def look_behind(self, since: float = 0.0) -> None:
        """Makes the next claims look behind the cursors. In each lane they begin at the run_at ``since``."""
        position = (since, 0)
        for lane, cursor in self._cursors.items():
            if position < cursor.position:
                self._behind[lane] = min(position, self._behind.get(lane, position))

    def since(self, lanes: Sequence[Lane]) -> list[Position]:
        """Returns, for each lane, the position at which the next claim begins to scan."""
        return [self._behind.get(lane) or self._cursors[lane].position for lane in lanes]

    def advance(
        self, claimed: Iterable[tuple[Lane, Position]], now: float, *, exhausted: Iterable[Lane] = ()
    ) -> None:
        """Notes the positions of the jobs that were claimed. ``exhausted``: the lanes in which the look behind is complete."""
        furthest: dict[Lane, Position] = {}
        for lane, position in claimed:
            if position > furthest.get(lane, START):
                furthest[lane] = position
        for lane, position in furthest.items():
            self._cursors[lane].reach(position, now)
            if lane in self._behind:
                self._behind[lane] = max(self._behind[lane], position)
        for lane in exhausted:
            self._behind.pop(lane, None)
        if self._behind:
            self._behind = {
                lane: position
                for lane, position in self._behind.items()
                if position < self._cursors[lane].position
            }
