"""Tests of a runner whose executor does nothing: slots, suspects (jobs that ran in a process when it crashed), and attempts that are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pgqueue import App
from pgqueue.model.outcome import COMPLETED
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.job_times import AHEAD, FEW, MOST_AHEAD, SHORT, JobTimes
from pgqueue.worker.running.runner import SUSPECTS, Runner
from pgqueue.worker.running.waiting import OVERTAKEN, Waiting
from tests.conclusions import reason_of
from tests.factories import attempt


class Idle:
    """An executor that only keeps a list of the attempts that it must start or stop."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.stopped: list[int] = []

    def start(self, _spec: object, one: Attempt) -> None:
        self.started.append(one.id)

    def stop(self, one: Attempt) -> None:
        self.stopped.append(one.id)


class Stage:
    """A runner with the task ``t``. ``done``: (job id, reason of the outcome) of each attempt that has ended.

    ``idle`` gets the attempts that run in this process, and ``own_process`` gets the attempts of suspects.
    """

    def __init__(self, slots: int = 2) -> None:
        app = App()

        @app.task(name="t")
        async def t() -> None: ...

        self.done: list[tuple[int, str]] = []
        self.idle, self.own_process = Idle(), Idle()
        self.runner = Runner(
            app, slots=slots, executor="async", app_path="none:app", crash_limit=3, done=self._note
        )
        self.runner._ways["t"] = (t.spec, self.idle)
        self.runner._own_process["t"] = self.own_process

    def _note(self, one: Attempt, conclusion: Conclusion) -> None:
        self.done.append((one.id, reason_of(conclusion)))


def on_a_loop(test: Callable[[], None]) -> Callable[[], None]:
    async def play() -> None:
        test()

    def run() -> None:
        asyncio.run(play())

    run.__name__ = test.__name__
    return run


@on_a_loop
def test_the_next_attempt_starts_immediately_when_an_attempt_ends() -> None:
    stage, attempts = Stage(), [attempt(n, "t") for n in range(4)]
    stage.runner.take(attempts)
    assert stage.idle.started == [0, 1]
    stage.runner._finish(attempts[1], COMPLETED)
    assert (stage.idle.started, stage.done) == ([0, 1, 2], [(1, "completed")])
    stage.runner._finish(attempts[1], COMPLETED)
    assert stage.done == [(1, "completed")], "an attempt ends once"


@on_a_loop
def test_a_job_of_an_unknown_task_is_released() -> None:
    stage = Stage()
    stage.runner.take([attempt(1, "unknown")])
    assert (stage.done, len(stage.runner)) == ([(1, "released")], 0)


@on_a_loop
def test_only_a_few_suspects_run_at_the_same_time_and_other_jobs_use_the_remaining_slots() -> None:
    stage = Stage(slots=SUSPECTS + 2)
    stage.runner.take([attempt(n, "t", crash_count=1) for n in range(SUSPECTS + 3)])
    stage.runner.take([attempt(100 + n, "t") for n in range(3)])
    assert stage.own_process.started == list(range(SUSPECTS))
    assert stage.idle.started == [100, 101]
    assert stage.runner.ahead() == 3, "suspects that have not started take no slots from other jobs"


@pytest.mark.parametrize("ending", [Ending.CANCELLED, Ending.LOST, Ending.RELEASED])
def test_a_running_attempt_is_stopped_and_an_attempt_that_has_not_begun_ends_immediately(
    ending: Ending,
) -> None:
    stage, attempts = Stage(slots=1), [attempt(n, "t") for n in range(2)]

    async def play() -> None:
        stage.runner.take(attempts)
        match ending:
            case Ending.CANCELLED:
                stage.runner.cancel([0, 1])
                stage.runner.cancel([0])
            case Ending.LOST:
                stage.runner.lose()
            case _:
                stage.runner.release_waiting()
                stage.runner.release_running()

    asyncio.run(play())
    assert stage.idle.stopped == [0], "the attempt is stopped only once"
    reason = {Ending.CANCELLED: "cancelled", Ending.LOST: "LEASE_LOST", Ending.RELEASED: "released"}[ending]
    assert (1, reason) in stage.done
    assert attempts[0].ending is ending


def test_an_attempt_is_not_overtaken_for_ever_by_more_urgent_attempts() -> None:
    waiting, now = Waiting(), 100.0

    def claimed(job_id: int, priority: int, at: float) -> Attempt:
        one = attempt(job_id, "t")
        one.priority, one.claimed_at = priority, at
        waiting.append(one)
        return one

    claimed(1, 0, now)
    claimed(2, -5, now + OVERTAKEN / 2)
    claimed(3, -5, now + 2 * OVERTAKEN)
    assert [one.id for one in waiting] == [2, 3, 1]
    assert [waiting.popleft().id for _ in range(3)] == [2, 1, 3]
    assert not waiting


def test_the_order_of_attempts_stays_the_same_when_other_attempts_are_taken_out() -> None:
    waiting = Waiting()
    for n in range(6):
        waiting.append(attempt(n, "t"))
    assert [one.id for one in waiting.take_out(lambda one: one.id % 2 == 0)] == [0, 2, 4]
    assert ([one.id for one in waiting], len(waiting)) == ([1, 3, 5], 3)
    assert len(waiting.take_out(lambda _: True)) == 3
    assert not waiting


def test_short_jobs_are_claimed_ahead_and_long_jobs_are_not() -> None:
    times = JobTimes()
    assert times.ahead(0) == 0, "no job has run yet, so it is unknown how long jobs last"
    for n in range(200):
        times.note(n * 0.001, (n + 1) * 0.001)
    assert times.ahead(0) == pytest.approx(AHEAD / 0.001, abs=2)
    times.note_long()
    assert times.ahead(0) == 0
    fast = JobTimes()
    fast.note(0.0, 1e-9)
    assert fast.ahead(0) == MOST_AHEAD
    slow = JobTimes()
    slow.note(0.0, 2 * SHORT)
    assert slow.ahead(0) == 0


@pytest.mark.parametrize(("wait", "wanted"), [(0, 10), (5, 10), (6, 6), (10, 10), (14, 10)])
def test_a_claim_ahead_waits_until_half_of_the_few_jobs_claimed_before_have_begun(
    wait: int, wanted: int
) -> None:
    times = JobTimes()
    times.note(0.0, AHEAD / 10.5)
    assert times.ahead(wait) == wanted


@pytest.mark.parametrize(("wait", "wanted"), [(0, 500), (500 - FEW, 500), (501 - FEW, 501 - FEW)])
def test_a_claim_ahead_waits_for_no_more_than_a_few_jobs(wait: int, wanted: int) -> None:
    times = JobTimes()
    times.note(0.0, AHEAD / 500.5)
    assert times.ahead(wait) == wanted
