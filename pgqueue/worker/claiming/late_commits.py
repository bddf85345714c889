"""When claims look behind the cursors of the lanes (cursors.py), for jobs that committed late. Pure: it is told the time.

While a look is cheap, which is the normal case, every claim looks. If a look is dear, because some session holds an old snapshot,
claims look:

- immediately after the end of a transaction that wrote jobs for long, because it has left jobs behind the cursors;
- every max(1 s, 200 times what a look took), to find other jobs, which were given a run_at in the past.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgqueue.worker.claiming.cursors import LAG

# Seconds: a look behind is cheap if it takes less than CHEAP_LOOK, and CHEAP_ROW more for each job that it claimed.
CHEAP_LOOK, CHEAP_ROW = 0.002, 0.000015
SHORTEST_PAUSE = 1.0  # seconds between two dear looks
# After a dear look, the next one waits so many times its duration, so that not one job in a hundred waits for a look.
TIMES_ITS_DURATION = 200
WATCH = LAG / 2  # seconds between two queries for the transactions that write jobs


class LateCommits:
    """``next_look_behind``: the moment from which on claims look behind the cursors again."""

    def __init__(self) -> None:
        self.next_look_behind = 0.0
        self._next_watch = 0.0
        # For each transaction that writes jobs: when it began, and how long ago that was.
        self.writers: dict[str, tuple[float, float]] = {}

    def is_look_behind_due(self, now: float) -> bool:
        return now >= self.next_look_behind

    def note_look_behind(self, claimed: int, took: float, now: float) -> bool:
        """Called after a claim that looked behind all cursors. Returns whether that was cheap. If so, the next claim does the same."""
        is_cheap = took < CHEAP_LOOK + CHEAP_ROW * claimed
        self.next_look_behind = 0.0 if is_cheap else self._after(took, now)
        return is_cheap

    def note_survey_from_start(self, took: float, now: float) -> None:
        """Called after a survey that looked behind all cursors, and found no job that is due now."""
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
        """Notes which transactions write jobs. ``writers``: the name of each, when it began, and the time now.

        If a transaction writes for no longer than WATCH, it does not count. If others have ended since the last look,
        returns the run_at from which on these may have left jobs; else None.
        """
        open_now: dict[str, tuple[float, float]] = {}
        for name, began, now in writers:
            first, _ = self.writers.get(name, (now - WATCH if began is None else began, 0.0))
            open_now[name] = first, now - first
        ended = [first for name, (first, age) in self.writers.items() if name not in open_now and age > WATCH]
        self.writers = open_now
        return min(ended) - LAG if ended else None
