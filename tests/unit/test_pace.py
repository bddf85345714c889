"""Tests of the pauses of a claimer between its claims and between its surveys."""

from __future__ import annotations

import pytest

from pgqueue.database.statements.claiming import LaneSurvey
from pgqueue.worker.claiming.pace import (
    FIRST_PAUSE,
    LONGEST_BUSY_PAUSE,
    NOT_SOON,
    POLLS_WITH_WAKE_UPS,
    SLOWER,
    SURVEY_PAUSE,
    SURVEY_SHARE,
    Pace,
)


def surveyed(*due_in: float, later: float | None = None, poll: float = 1.0) -> Pace:
    pace = Pace(poll)
    lanes = {("q", priority): seconds for priority, seconds in enumerate(due_in)}
    pace.note_survey(LaneSurvey(lanes, {}, [], later), 0.001, 50.0)
    return pace


def test_the_pauses_of_a_busy_worker_grow_until_it_finds_work():
    pace = Pace(1.0)
    pauses = [pace.busy_pause() for _ in range(12)]
    assert pauses[:3] == [FIRST_PAUSE, FIRST_PAUSE * SLOWER, FIRST_PAUSE * SLOWER * SLOWER]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_BUSY_PAUSE
    pace.note_work()
    assert pace.busy_pause() == FIRST_PAUSE


@pytest.mark.parametrize(
    ("due_in", "later", "wake_ups_arrive", "pause"),
    [
        ((), None, False, 1.0),
        ((), None, True, POLLS_WITH_WAKE_UPS),
        ((0.3,), None, True, 0.3),
        ((5.0, 0.4), None, False, 0.4),
        ((), 0.2, True, 0.2),
        ((0.1,), 0.2, False, 0.1),
        ((), -3.0, False, 0.001),
    ],
)
def test_an_idle_worker_waits_until_its_poll_or_until_the_first_job_is_due(
    due_in, later, wake_ups_arrive, pause
):
    pace = surveyed(*due_in, later=later)
    pace.wake_ups_arrive = wake_ups_arrive
    assert not pace.is_work_due
    assert pace.idle_pause() == pause


def test_the_pauses_grow_up_to_the_poll_if_due_jobs_cannot_be_claimed():
    pace = surveyed(-1.0, poll=0.1)
    assert pace.is_work_due
    pauses = [pace.blocked_pause() for _ in range(20)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.1
    assert surveyed(-1.0, later=0.0015).blocked_pause() == 0.0015


def test_the_first_survey_is_due_immediately_and_the_pause_after_a_slow_survey_is_longer():
    pace = Pace(1.0)
    assert pace.is_survey_due(0.0)
    for took in (0.0, 0.001, 0.1):
        pace.note_survey(LaneSurvey({}, {}, [], None), took, 10.0)
        pause = max(SURVEY_PAUSE, SURVEY_SHARE * took)
        assert not pace.is_survey_due(10.0 + 0.99 * pause)
        assert pace.is_survey_due(10.0 + pause)
    pace.survey_at_once()
    assert pace.is_survey_due(10.0)


def test_an_idle_worker_waits_no_longer_than_an_hour_if_there_are_no_jobs():
    assert surveyed(poll=NOT_SOON * 2).idle_pause() == NOT_SOON
