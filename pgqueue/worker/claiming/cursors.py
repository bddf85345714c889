"""From which position on claims look into each lane. Pure: it is told the time.

Cursor: the position that the claims from a lane had reached a moment ago. The index entries before it are dead, and cannot be removed
while some session holds an old snapshot. So claims start at the cursor. A cursor is only a hint: jobs may still commit behind it, and a
look behind the cursors finds them. ``late_commits.py`` says when to look behind them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pgqueue.database.statements.claiming import Lane, Position

# Seconds by which a cursor is at least behind the claims. If a job commits within this time, claims find it without a look behind.
LAG = 0.2
START: Position = (0.0, 0)


class Cursor:
    """The position where the claims from a lane begin, and how far the claims have come since."""

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
        # For each lane with a look behind under way: how far that look has come.
        self._behind: dict[Lane, Position] = {}

    def forget(self, lane: Lane) -> None:
        self._cursors.pop(lane, None)
        self._behind.pop(lane, None)

    @property
    def have_moved(self) -> bool:
        """Whether jobs can lie behind any cursor."""
        return any(cursor.position > START for cursor in self._cursors.values())

    @property
    def is_looking_behind(self) -> bool:
        """Whether a look behind the cursors is under way."""
        return bool(self._behind)

    def look_behind(self, since: float = 0.0) -> None:
        """From now on claims look behind the cursors, at jobs with this run_at or a later one."""
        position = (since, 0)
        for lane, cursor in self._cursors.items():
            if position < cursor.position:
                self._behind[lane] = min(position, self._behind.get(lane, position))

    def since(self, lanes: Sequence[Lane]) -> list[Position]:
        """The position from which on to look into each lane."""
        return [self._behind.get(lane) or self._cursors[lane].position for lane in lanes]

    def advance(
        self, claimed: Iterable[tuple[Lane, Position]], now: float, *, exhausted: Iterable[Lane] = ()
    ) -> None:
        """Notes the jobs that were claimed, and the ``exhausted`` lanes, in which no more jobs lie behind the cursors."""
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
