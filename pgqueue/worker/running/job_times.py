"""How long jobs take, and how many jobs to claim ahead because of that. Pure."""

from __future__ import annotations

SHORT = 0.05  # seconds: jobs longer than this are not claimed ahead
AHEAD = 0.03  # seconds of work to have at hand
MOST_AHEAD = 1000  # jobs
WEIGHT = 0.05  # of the newest job in the averages


class JobTimes:
    """Moving averages, over the jobs of one worker."""

    def __init__(self) -> None:
        self._seconds: float | None = None  # what a job takes
        self._pace: float | None = None  # seconds from one end of a job to the next, while there is work
        self._last_end = 0.0

    def note(self, started_at: float, now: float) -> None:
        """A job has ended."""
        took = now - started_at
        pace = min(took, now - self._last_end)
        self._last_end = now
        if self._seconds is None or self._pace is None:
            self._seconds, self._pace = took, pace
        else:
            self._seconds += WEIGHT * (took - self._seconds)
            self._pace += WEIGHT * (pace - self._pace)

    def note_long(self) -> None:
        """Called when jobs took longer than these averages told."""
        self._seconds = max(self._seconds or 0.0, 2 * SHORT)

    def ahead(self) -> int:
        """How many jobs to claim beyond the slots: if they are short, enough that no turn stays empty; if they are long, none."""
        if self._seconds is None or self._pace is None or self._seconds > SHORT:
            return 0
        return min(MOST_AHEAD, int(AHEAD / max(self._pace, 1e-6)))
