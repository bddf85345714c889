"""Decides when claims look behind the cursors of the lanes (cursors.py), for jobs that were committed late. Does no I/O.

Normally a look behind is cheap, and every claim does it. If some session holds an old snapshot, a look behind is expensive. In this case,
claims look behind only

- immediately after the end of a long transaction that wrote jobs, because some of its jobs can lie before the cursors;
- after a pause of 200 times the duration of the last look behind, but at least 1 s. This finds jobs that were stored with a past run_at.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgqueue.worker.claiming.cursors import LAG

# A look behind counts as cheap if it takes less than CHEAP_LOOK seconds, plus CHEAP_ROW seconds for each job that it claimed.
CHEAP_LOOK, CHEAP_ROW = 0.002, 0.000015
SHORTEST_PAUSE = 1.0  # at least this many seconds pass between two expensive looks behind
# After an expensive look behind, claims do not look behind for this many times its duration. So looking behind takes less than one percent
# of the time, and only few jobs have to wait until it ends.
TIMES_ITS_DURATION = 200
WATCH = LAG / 2  # seconds between two queries for the transactions that write jobs


class LateCommits:
    """``next_look_behind``: claims look behind the cursors again after this moment."""

    def __init__(self) -> None:
        self.next_look_behind = 0.0
        self._next_watch = 0.0
        # For each transaction that writes jobs: when it began, and how old it was when it was last seen.
        self.writers: dict[str, tuple[float, float]] = {}

    def is_look_behind_due(self, now: float) -> bool:
        return now >= self.next_look_behind

    def note_look_behind(self, claimed: int, took: float, now: float) -> bool:
        """Called after a claim that looked behind all cursors. Returns whether that was cheap. If so, the next claim looks behind, too."""
        is_cheap = took < CHEAP_LOOK + CHEAP_ROW * claimed
        self.next_look_behind = 0.0 if is_cheap else self._after(took, now)
        return is_cheap

    def note_survey_from_start(self, took: float, now: float) -> None:
        """Called after a survey that looked behind all cursors and found no due job."""
        if took > CHEAP_LOOK:
            self.next_look_behind = self._after(took, now)

    @staticmethod
    def _after(took: float, now: float) -> float:
        return now + max(SHORTEST_PAUSE, TIMES_ITS_DURATION * took)

    # ---------------------------------------------------------------- transactions that write jobs

    def is_watch_due(self, now: float) -> bool:
        return now >= self._next_watch

    def begin_watch(self, now: float) -> None:
        self._next_watch = now + WATCH

    def first_that_ended(self, writers: Iterable[tuple[str, float | None, float]]) -> float | None:
        """Notes the open transactions that write jobs. ``writers``: for each, its name, when it began (None: unknown), and the time now.

        A noted transaction is long if it was open for more than WATCH seconds. If long transactions have ended since the last call, returns
        the earliest run_at that their jobs probably have. Otherwise returns None.
        """
        open_now: dict[str, tuple[float, float]] = {}
        for name, began, now in writers:
            first, _ = self.writers.get(name, (now - WATCH if began is None else began, 0.0))
            open_now[name] = first, now - first
        ended = [first for name, (first, age) in self.writers.items() if name not in open_now and age > WATCH]
        self.writers = open_now
        return min(ended) - LAG if ended else None
