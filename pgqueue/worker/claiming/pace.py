"""When a claimer asks again. Pure: it is told the time.

An idle worker waits for a wake-up or its poll. A busy worker (busy.py) needs no wake-ups, and asks every few milliseconds.
Between claims, a survey looks for lanes that are new.
"""

from __future__ import annotations

from pgqueue.database.statements.claiming import LaneSurvey

# Seconds of the first pause after work was found, and the factor from each pause to the next.
FIRST_PAUSE, SLOWER = 0.002, 1.6
LONGEST_BUSY_PAUSE = 0.05  # seconds
# Seconds after a wake-up until the worker looks once more. Within 10 ms of a wake-up enqueuers send no other wake-up (wake.sql).
AFTER_WAKE_UP = 0.012
POLLS_WITH_WAKE_UPS = 1.8  # if an idle worker knows that wake-ups arrive, it waits for so many polls
# Seconds between two surveys while there is work; or, if that is longer, so many times what a survey takes.
SURVEY_PAUSE, SURVEY_SHARE = 0.05, 20
NOT_SOON = 3600.0  # seconds


class Pace:
    """``poll``: seconds after which an idle worker asks again."""

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self.wake_ups_arrive = False
        self._pause = FIRST_PAUSE
        self._next_survey = 0.0
        self._due_in = self._later = 0.0

    def note_work(self) -> None:
        """A claim took jobs, or the worker is no longer busy: the next pause is a short one."""
        self._pause = FIRST_PAUSE

    def busy_pause(self) -> float:
        """How long a busy worker waits if it found nothing more."""
        return self._grow(LONGEST_BUSY_PAUSE)

    def blocked_pause(self) -> float:
        """How long to wait if jobs are due that cannot be claimed: locked, paused, limited, or of an unknown task."""
        return min(self._grow(self._poll), self._later)

    def idle_pause(self) -> float:
        """How long an idle worker waits for a wake-up."""
        poll = self._poll * (POLLS_WITH_WAKE_UPS if self.wake_ups_arrive else 1.0)
        return min(poll, self._due_in, self._later)

    def _grow(self, longest: float) -> float:
        pause, self._pause = self._pause, min(self._pause * SLOWER, longest)
        return pause

    # ---------------------------------------------------------------- surveys

    @property
    def is_work_due(self) -> bool:
        """Whether the last survey found a due job among those that are not taken in turns."""
        return self._due_in <= 0

    def is_survey_due(self, now: float) -> bool:
        return now >= self._next_survey

    def survey_at_once(self) -> None:
        self._next_survey = 0.0

    def note_survey(self, survey: LaneSurvey, took: float, now: float) -> None:
        self._due_in = min(survey.lanes.values(), default=NOT_SOON)
        self._later = NOT_SOON if survey.later is None else max(survey.later, 0.001)
        self._next_survey = now + max(SURVEY_PAUSE, SURVEY_SHARE * took)
