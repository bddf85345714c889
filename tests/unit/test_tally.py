"""A tally counts claimed and settled attempts by minute, queue and task, and keeps what cannot be written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgqueue.model import tally as tallying
from pgqueue.model.outcome import COMPLETED, FORGOTTEN, Outcome
from pgqueue.model.suspension import Request
from pgqueue.model.tally import Tally, as_deltas
from pgqueue.worker.attempt import Attempt
from tests import factories

NOON = 1_772_366_400.0  # the beginning of a minute and of an hour
BOOM = ValueError("boom")


class Clock:
    def __init__(self) -> None:
        self.now = NOON + 10

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(clock)


def attempt(
    queue: str = "default",
    task: str = "t",
    *,
    waited: float = 0.0,
    ran: float | None = None,
    at: float = NOON + 10,
) -> Attempt:
    """Returns an attempt that was claimed at ``at``. ``ran`` None: its handler was not called."""
    made = factories.attempt(1, task)
    made.queue, made.run_at, made.ran = queue, at - waited, ran
    return made


def deltas(tally: Tally) -> list[dict[str, Any]]:
    return as_deltas(tally.take())


def counted(tally: Tally) -> dict[str, Any]:
    """Returns the fields that are not 0, of the only item."""
    [delta] = deltas(tally)
    return {name: value for name, value in delta.items() if value and name not in ("at", "queue", "task")}


def histogram(bucket: int, count: int = 1) -> list[int]:
    return [0] * bucket + [count]


def test_a_claim_counts_each_start_with_the_time_for_which_the_job_had_been_due(tally: Tally) -> None:
    tally.claimed([attempt(waited=0.75), attempt(waited=0.75), attempt(waited=3.0)])
    assert counted(tally) == {"started": 3, "wait_seconds": 4.5, "waits": [*[0] * 13, 2, 0, 1]}


def test_a_job_that_was_claimed_at_the_moment_when_it_was_due_has_waited_no_time(tally: Tally) -> None:
    tally.claimed([attempt(waited=0.0)])
    assert counted(tally) == {"started": 1, "waits": [1]}


def test_a_clock_that_is_a_little_behind_the_server_gives_no_negative_sum(tally: Tally) -> None:
    tally.claimed([attempt(waited=-0.0005)])
    assert counted(tally) == {"started": 1, "waits": histogram(3)}


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (COMPLETED, {"completed": 1}),
        (FORGOTTEN, {"completed": 1}),
        (Outcome.completed('"result"'), {"completed": 1}),
        (Outcome.retried(1.0, BOOM), {"retried": 1}),
        (Outcome.retried(1.0, BOOM, crashed=True), {"retried": 1, "crashed": 1}),
        (Outcome.dead("attempts_exhausted", BOOM), {"dead": 1}),
        (Outcome.dead("crash_loop", BOOM, crashed=True), {"dead": 1, "crashed": 1}),
        (Outcome.cancelled("why"), {"cancelled": 1}),
        (Outcome.expired(), {"cancelled": 1}),
        (Outcome.snoozed(1.0), {"put_back": 1}),
        (Outcome.rate_limited(1.0), {"put_back": 1}),
        (Outcome.released(), {"put_back": 1}),
        (Outcome.suspended((Request("sleep", "a", "", 1.0),)), {"put_back": 1}),
        (Outcome.suspended((Request("wait", "a", "", None),)), {"put_back": 1}),
    ],
)
def test_each_outcome_counts_as_one_end(tally: Tally, outcome: Outcome, counts: dict[str, int]) -> None:
    tally.settled([(attempt(ran=0.75), outcome)])
    assert counted(tally) == {**counts, "run_seconds": 0.75, "runs": histogram(13)}


def test_every_state_of_an_outcome_is_known(tally: Tally) -> None:
    for state in ("completed", "cancelled", "dead", "retrying", "pending", "waiting"):
        tally.settled([(attempt(), replace(COMPLETED, state=state))])  # type: ignore[arg-type]
    assert sum(counted(tally).values()) == 6


def test_an_attempt_whose_handler_was_not_called_has_no_time(tally: Tally) -> None:
    tally.settled([(attempt(), Outcome.released(begun=False)), (attempt(), Outcome.expired())])
    assert counted(tally) == {"put_back": 1, "cancelled": 1}


def test_a_mixed_batch_is_counted_for_each_queue_and_task(tally: Tally) -> None:
    made = [
        attempt("a", "t", waited=1.0),
        attempt("a", "u", waited=1.0),
        attempt("b", "t", waited=1.0),
        attempt("a", "t", waited=1.0),
    ]
    tally.claimed(made)
    tally.settled([(one, COMPLETED) for one in made])
    found = [(d["queue"], d["task"], d["started"], d["completed"], d["wait_seconds"]) for d in deltas(tally)]
    assert found == [("a", "t", 2, 2, 2.0), ("a", "u", 1, 1, 1.0), ("b", "t", 1, 1, 1.0)]


@pytest.mark.parametrize("count", [1, 15, 16, 31, 32, 33, 100, 500])
def test_of_many_attempts_each_is_counted_and_the_time_of_some_stands_for_others(
    tally: Tally, count: int
) -> None:
    made = [attempt("a", waited=1.5)] + [
        attempt(waited=0.5 + i / count / 4, ran=0.5 + i / count / 4) for i in range(count)
    ]
    tally.claimed(made)
    tally.settled([(one, Outcome.snoozed(1.0) if i % 5 == 0 else COMPLETED) for i, one in enumerate(made)])
    [one, many] = deltas(tally)
    assert (one["started"], one["put_back"], many["started"]) == (1, 1, count)
    assert many["put_back"] == count // 5
    assert many["completed"] == count - count // 5
    for field in ("wait", "run"):
        assert many[f"{field}s"] == histogram(13, count), "the times that were measured stand for all"
        assert many[f"{field}_seconds"] == pytest.approx(0.625 * count, rel=0.2 if count < 32 else 0.02)


def test_nothing_is_counted_for_an_empty_batch(tally: Tally) -> None:
    tally.claimed([])
    tally.settled([])
    assert deltas(tally) == []


def test_jobs_that_others_ran_are_counted_by_their_queue_and_task(tally: Tally) -> None:
    tally.ended("a", "t", "retrying", crashed=True)
    tally.ended("a", "t", "cancelled")
    [delta] = deltas(tally)
    assert (delta["queue"], delta["task"], delta["retried"], delta["cancelled"], delta["crashed"]) == (
        "a",
        "t",
        1,
        1,
        1,
    )
    assert delta["started"] == 0


def test_counts_belong_to_the_minute_in_which_they_were_counted(tally: Tally, clock: Clock) -> None:
    tally.claimed([attempt()])
    clock.now = NOON + 59.9
    tally.claimed([attempt()])
    clock.now = NOON + 60
    tally.claimed([attempt()])
    assert [(d["at"] - NOON, d["started"]) for d in deltas(tally)] == [(0, 2), (60, 1)]


def test_a_clock_that_is_set_back_begins_another_minute(tally: Tally, clock: Clock) -> None:
    tally.claimed([attempt()])
    clock.now = NOON - 1
    tally.claimed([attempt()])
    assert [d["at"] - NOON for d in deltas(tally)] == [-60, 0]


def test_what_was_taken_is_not_taken_again(tally: Tally) -> None:
    tally.claimed([attempt("a"), attempt("b"), attempt("c")])
    assert [key.queue for key, _ in tally.take()] == ["a", "b", "c"]
    assert tally.take() == []


def test_what_is_given_back_is_added_to_what_was_counted_meanwhile(tally: Tally) -> None:
    tally.claimed([attempt(waited=0.75)])
    taken = tally.take()
    tally.claimed([attempt(waited=0.75)])
    tally.give_back(taken)
    tally.settled([(attempt(ran=0.75), COMPLETED)])
    assert counted(tally) == {
        "started": 2, "wait_seconds": 1.5, "waits": histogram(13, 2), "completed": 1, "run_seconds": 0.75, "runs": histogram(13),
    }  # fmt: skip


def test_if_too_much_is_kept_the_minutes_of_an_hour_are_added_up_and_no_count_is_lost(
    tally: Tally, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallying, "MOST_KEPT", 50)
    for minute in range(90):
        clock.now = NOON + 60 * minute
        tally.claimed([attempt()])
        tally.give_back(tally.take())
    found = deltas(tally)
    assert len(found) <= 50
    assert sum(d["started"] for d in found) == 90
    assert tally.dropped == 0


def test_if_even_hours_are_too_many_the_oldest_are_dropped_and_counted(
    tally: Tally, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallying, "MOST_KEPT", 3)
    for hour in range(5):
        clock.now = NOON + 3600 * hour
        tally.claimed([attempt(), attempt()])
        tally.settled([(attempt(), COMPLETED)])
        tally.give_back(tally.take())
    assert [(d["at"] - NOON) / 3600 for d in deltas(tally)] == [2, 3, 4]
    assert tally.dropped == 2 * 3
