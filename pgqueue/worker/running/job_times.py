"""Measures how long jobs take. From this, decides how many jobs are claimed ahead, in addition to the free slots. Does no I/O."""

from __future__ import annotations

SHORT = 0.05  # if jobs take longer than this many seconds, no job is claimed ahead
AHEAD = 0.03  # the worker needs about this many seconds for the jobs that are claimed ahead
MOST_AHEAD = 1000  # at most this many jobs are claimed ahead
WEIGHT = 0.05  # the weight of the newest job in the averages


class JobTimes:
    """Moving averages over the jobs of one worker."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # how long a job takes
        self._pace: float | None = (
            None  # seconds from the end of one job to the end of the next, as long as there is work
        )
        self._last_end = 0.0

    def note(self, started_at: float, now: float) -> None:
        """Called when a job has ended."""
        took = now - started_at
        pace = min(took, now - self._last_end)
        self._last_end = now
        if self._seconds is None or self._pace is None:
            self._seconds, self._pace = took, pace
        else:
            self._seconds += WEIGHT * (took - self._seconds)
            self._pace += WEIGHT * (pace - self._pace)

    def note_long(self) -> None:
        """Called if claimed jobs have waited too long for a slot. This shows that jobs now take longer than the averages say."""
        self._seconds = max(self._seconds or 0.0, 2 * SHORT)

    def ahead(self, waiting: int) -> int:
        """Returns how many claimed jobs should wait for a slot, if ``waiting`` jobs wait now.

        If jobs take a short time, this number is large enough to keep every slot filled. If jobs take long, it is 0. If more than half of
        this number wait already, returns at most ``waiting``. So no job is claimed until half of them have begun, and then one claim takes
        many jobs.
        """
        if self._seconds is None or self._pace is None or self._seconds > SHORT:
            return 0
        ahead = min(MOST_AHEAD, int(AHEAD / max(self._pace, 1e-6)))
        return min(ahead, waiting) if waiting > ahead // 2 else ahead
