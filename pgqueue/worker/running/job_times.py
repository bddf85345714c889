"""Measures how long jobs take, and decides from this how many jobs are claimed ahead, beyond the slots. Does no I/O."""

from __future__ import annotations

SHORT = 0.05  # if jobs take longer than this many seconds, none is claimed ahead
AHEAD = 0.03  # the jobs that are claimed ahead are work for about this many seconds
MOST_AHEAD = 1000  # no more jobs than this are claimed ahead
WEIGHT = 0.05  # the weight of the newest job in the averages


class JobTimes:
    """Moving averages, over the jobs of one worker."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # how long a job takes
        self._pace: float | None = None  # seconds from one end of a job to the next, while there is work
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
        """Called if claimed jobs have waited too long for a slot, so jobs are longer than these averages."""
        self._seconds = max(self._seconds or 0.0, 2 * SHORT)

    def ahead(self) -> int:
        """How many jobs to claim beyond the slots. If jobs are short, enough that no slot stays empty; if they are long, none."""
        if self._seconds is None or self._pace is None or self._seconds > SHORT:
            return 0
        return min(MOST_AHEAD, int(AHEAD / max(self._pace, 1e-6)))
