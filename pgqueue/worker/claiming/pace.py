"""Decides how long a claimer waits before the next claim, and when the next survey is due. Does no I/O; the caller passes the time.

An idle worker waits for a wake-up, and looks for jobs at every poll even without one. A busy worker (busy.py) gets no wake-ups, and claims
every few milliseconds. Between claims, a survey looks for new lanes.
"""

from __future__ import annotations

from pgqueue.database.statements.claiming import LaneSurvey

# The first pause after work was found, in seconds. Each further pause is longer by the factor SLOWER.
FIRST_PAUSE, SLOWER = 0.002, 1.6
LONGEST_BUSY_PAUSE = 0.05  # seconds
POLLS_WITH_WAKE_UPS = 1.8  # if wake-ups arrive, an idle worker polls this many times less often
# The pause between two surveys while there is work: SURVEY_PAUSE seconds, or SURVEY_SHARE times the duration of a survey if that is longer.
SURVEY_PAUSE, SURVEY_SHARE = 0.05, 20
NOT_SOON = 3600.0  # if no job is known to be due later, the next job counts as due in this many seconds


class Pace:
    """``poll``: seconds after which an idle worker looks for jobs again."""

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self.wake_ups_arrive = False
        self._pause = FIRST_PAUSE
        self._next_survey = 0.0
        self._due_in = self._later = 0.0

    def note_work(self) -> None:
        """Called if a claim took jobs, or if the worker is no longer busy. The next pause will be short."""
        self._pause = FIRST_PAUSE

    def busy_pause(self) -> float:
        """Returns how long a busy worker waits after a claim that found no job."""
        return self._grow(LONGEST_BUSY_PAUSE)

    def blocked_pause(self) -> float:
        """Returns how long to wait if jobs are due but cannot be claimed because they are locked, paused, limited, or of unknown tasks."""
        return min(self._grow(self._poll), self._later)

    def idle_pause(self) -> float:
        """Returns how long an idle worker waits for a wake-up."""
        poll = self._poll * (POLLS_WITH_WAKE_UPS if self.wake_ups_arrive else 1.0)
        return min(poll, self._due_in, self._later)

    def _grow(self, longest: float) -> float:
        pause, self._pause = self._pause, min(self._pause * SLOWER, longest)
        return pause

    # ---------------------------------------------------------------- surveys

    @property
    def is_work_due(self) -> bool:
        """Returns whether the last survey found a due job without a key."""
        return self._due_in <= 0

    def is_survey_due(self, now: float) -> bool:
        return now >= self._next_survey

    def survey_at_once(self) -> None:
        self._next_survey = 0.0

    def note_survey(self, survey: LaneSurvey, took: float, now: float) -> None:
        self._due_in = min(survey.lanes.values(), default=NOT_SOON)
        self._later = NOT_SOON if survey.later is None else max(survey.later, 0.001)
        self._next_survey = now + max(SURVEY_PAUSE, SURVEY_SHARE * took)
