"""Measures how long jobs take. From this, decides how many jobs are claimed ahead, in addition to the free slots. Does no I/O."""

from __future__ import annotations

SHORT = 0.05  # if jobs take longer than this many seconds, no job is claimed ahead
AHEAD = 0.03  # the worker needs about this many seconds for the jobs that are claimed ahead
MOST_AHEAD = 1000  # at most this many jobs are claimed ahead
FEW = 20  # a claim ahead waits until it can take this many jobs, or half of what should wait if that is less
WEIGHT = 0.05  # the weight of the newest job in the averages


class JobTimes:
    """Moving averages over the jobs of one worker."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # how long a job takes
        self._pace: float | None = (
            None  # seconds from the end of one job to the end of the next, as long as there is work
        )
        self._last_end = 0.0

    def note(self, started_at: float, now: float) -> float:
        """Called when a job has ended. Returns how long it took."""
        took = now - started_at
        since = now - self._last_end
        pace = since if since < took else took  # noqa: FURB136 - a call of min() takes longer, and this is done for each job
        self._last_end = now
        if self._seconds is None or self._pace is None:
            self._seconds, self._pace = took, pace
        else:
            self._seconds += WEIGHT * (took - self._seconds)
            self._pace += WEIGHT * (pace - self._pace)
        return took

    def note_long(self) -> None:
        """Called if claimed jobs have waited too long for a slot. This shows that jobs now take longer than the averages say."""
        self._seconds = max(self._seconds or 0.0, 2 * SHORT)

    def ahead(self, waiting: int) -> int:
        """Returns how many claimed jobs should wait for a slot, if ``waiting`` jobs wait now.

        If jobs take a short time, this number is large enough to keep every slot filled. If jobs take long, it is 0. If only a few jobs
        fewer than this number wait, returns at most ``waiting``. So no claim takes one job after the other: the next one takes FEW jobs, or
        half of this number if that is less.
        """
        if self._seconds is None or self._pace is None or self._seconds > SHORT:
            return 0
        ahead = min(MOST_AHEAD, int(AHEAD / max(self._pace, 1e-6)))
        return ahead if ahead - waiting >= min(ahead // 2, FEW) else min(ahead, waiting)
