"""Three kinds of attempts that a runner must end correctly:

- attempts that end after their claim, but before their handler is called,
- attempts of suspects: jobs that ran in a process when it crashed. Each suspect runs alone in a separate process,
- attempts that still run when their worker stops or loses its lease.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgqueue import App, Job
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, NothingToSettle
from pgqueue.worker.rare_fields import RareFields
from pgqueue.worker.running.runner import LATER, SUSPECTS, Runner
from pgqueue.worker.settler import Settler
from pgqueue.worker.stopping import finish
from tests import factories
from tests.apps import killer_tasks
from tests.conclusions import reason_of
from tests.waiting import until

SLOTS = 4
Done = list[tuple[int, str | None]]


def attempt(job_id: int, task: str, crash_count: int = 0, **left: float) -> Attempt:
    """Returns an attempt of a job. ``left`` contains the seconds until the job expires, or until its deadline.

    These two are rare fields: fields that only some jobs have.
    """
    now = time.monotonic()
    moments = [now + left[name] if name in left else None for name in ("expires", "deadline")]
    extra = RareFields(*moments, None).text() if left else None
    return factories.attempt(job_id, task, crash_count=crash_count, rare=extra)


def runner_of(app: App, done: Done) -> Runner:
    def note(ended: Attempt, outcome: Conclusion) -> None:
        done.append((ended.id, reason_of(outcome)))

    return Runner(app, slots=SLOTS, executor="async", app_path="none:app", crash_limit=3, done=note)


@pytest.mark.parametrize(
    ("give_up", "reason"),
    [
        (lambda runner: runner.lose(), "LEASE_LOST"),
        (lambda runner: runner.cancel([1]), "cancelled"),
        (lambda runner: runner.release_running(), "released"),
    ],
    ids=["lost", "cancelled", "released"],
)
@pytest.mark.parametrize("executor", ["async", "process"])
def test_an_attempt_that_ends_before_its_handler_is_called_frees_its_slot(
    executor: str, give_up: Callable[[Runner], Any], reason: str | None
) -> None:
    """An asyncio task that is cancelled before its first step never runs any of its code, so it cannot report its own end."""
    app = App()

    @app.task(name="never", executor=executor)
    async def never() -> None:
        raise AssertionError

    done: Done = []

    async def play() -> None:
        runner = runner_of(app, done)
        runner.take([attempt(1, "never")])
        give_up(runner)
        async with asyncio.timeout(5):
            await runner.wait_idle()

    asyncio.run(play())
    assert done == [(1, reason)]


@pytest.mark.parametrize(
    ("left", "reason"),
    [({}, "cancelled"), ({"expires": 0.0}, "expired"), ({"deadline": 0.0}, "deadline_exceeded"), ({"deadline": 60.0}, "completed")],
    ids=str,
)  # fmt: skip
def test_an_attempt_never_begins_if_it_expired_or_was_cancelled_while_it_waited_for_a_slot(
    left: dict[str, float], reason: str
) -> None:
    app = App()
    go_on = asyncio.Event()
    begun: list[str] = []

    @app.task(name="first")
    async def first() -> None:
        begun.append("first")
        await go_on.wait()

    @app.task(name="late", executor="thread")
    def late() -> None:
        begun.append("late")

    done: Done = []

    async def play() -> None:
        runner = runner_of(app, done)
        runner.take([attempt(job_id, "first") for job_id in range(SLOTS)])
        runner.take([attempt(9, "late", **left)])
        while begun.count("first") < SLOTS:
            await asyncio.sleep(0)
        if not left:
            runner.cancel([9])
            assert done == [(9, "cancelled")]
        go_on.set()
        async with asyncio.timeout(5):
            await runner.wait_idle()
        runner.close()

    asyncio.run(play())
    assert ("late" in begun) is (reason == "completed")
    assert dict(done)[9] == reason


def killer_attempt(job_id: int, task: str, crash_count: int, **args: Any) -> Attempt:
    text = json.dumps({"n": job_id, **args})
    return factories.attempt(job_id, task, text, crash_count=crash_count)


Ended = dict[int, Outcome]


def suspects_runner(ended: Ended) -> Runner:
    def note(one: Attempt, outcome: Conclusion) -> None:
        assert isinstance(outcome, Outcome)
        ended[one.id] = outcome

    return Runner(
        killer_tasks.app,
        slots=20,
        executor="async",
        app_path="tests.apps.killer_tasks:app",
        crash_limit=3,
        done=note,
    )


@pytest.mark.parametrize("task", killer_tasks.TASKS)
def test_each_suspect_runs_in_a_separate_process_while_other_jobs_go_on(task: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ended: Ended = {}

    async def play() -> None:
        runner = suspects_runner(ended)
        runner.take(
            [
                killer_attempt(1, task, 1, gate=str(gate)),
                killer_attempt(2, task, 2, gate=str(gate)),
                killer_attempt(3, "looped", 0),
            ]
        )
        await until(lambda: 3 in ended)
        runner.take([killer_attempt(4, "threaded", 0)])
        await until(lambda: 4 in ended)
        gate.touch()
        await until(lambda: len(ended) == 4)
        runner.close()

    asyncio.run(play())
    assert {outcome.state for outcome in ended.values()} == {"completed"}
    assert ended[3].result == ended[4].result == str(os.getpid())
    assert len({ended[n].result for n in (1, 2, 3)}) == 3


@pytest.mark.parametrize("way", killer_tasks.WAYS)
@pytest.mark.parametrize("task", killer_tasks.TASKS)
def test_the_crash_of_a_suspect_ends_no_other_attempt(task: str, way: str) -> None:
    ended: Ended = {}

    async def play() -> None:
        runner = suspects_runner(ended)
        runner.take(
            [
                killer_attempt(1, task, 1, deadly=way),
                killer_attempt(2, task, 1),
                killer_attempt(3, task, 2, deadly=way),
                killer_attempt(4, task, 2),
            ]
        )
        await until(lambda: len(ended) == 4)
        runner.close()

    asyncio.run(play())
    assert [(ended[n].state, ended[n].crashed) for n in (1, 2, 4)] == [
        ("retrying", True), ("completed", False), ("completed", False)
    ]  # fmt: skip
    assert (ended[3].state, ended[3].reason) == ("dead", "crash_loop")


def test_only_a_few_suspects_run_at_the_same_time_and_suspects_that_have_not_started_take_no_slot(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    ended: Ended = {}

    async def play() -> None:
        runner = suspects_runner(ended)
        runner.take([killer_attempt(n, "threaded", 1, gate=str(gate)) for n in range(SUSPECTS + 3)])
        assert len(runner) == SUSPECTS
        assert runner.ahead() == 3
        runner.release_waiting(older_than=1e-9)
        assert sorted(ended) == [SUSPECTS, SUSPECTS + 1, SUSPECTS + 2]
        assert {(one.reason, one.begun, one.counted, one.delay) for one in ended.values()} == {
            ("released", False, False, LATER)
        }
        assert runner.ahead() == 0
        gate.touch()
        async with asyncio.timeout(60):
            await runner.wait_idle()
            runner.take([killer_attempt(100 + n, "threaded", 1) for n in range(SUSPECTS + 1)])
            await runner.wait_idle()
        runner.close()

    asyncio.run(play())
    assert [ended[100 + n].state for n in range(SUSPECTS + 1)] == ["completed"] * (SUSPECTS + 1)


# ---------------------------------------------------------------- stopping and losing


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_attempts_that_have_not_begun_are_released_at_the_end_of_the_grace_period(
    dsn: str, executor: str
) -> None:
    """One job still runs at the end of the grace period. The jobs that wait for its slot have not begun.

    A suspect, which waits for a process, has not begun either.
    """
    app, done = App(), dict[int, Conclusion]()
    begun, go_on = [], threading.Event()

    @app.task(name="long")
    async def long() -> None:
        begun.append(1)
        await asyncio.sleep(3600)

    @app.task(name="long_thread", executor="thread")
    def long_thread() -> None:
        begun.append(1)
        go_on.wait(30)

    def note(one: Attempt, outcome: Conclusion) -> None:
        done[one.id] = outcome

    async def play() -> int:
        runner = Runner(app, slots=1, executor="async", app_path="none:app", crash_limit=3, done=note)
        runner.take([attempt(1, "long" if executor == "async" else "long_thread")])
        await until(lambda: bool(begun))
        runner.take([attempt(n, "long") for n in range(2, 22)] + [attempt(22, "long", crash_count=1)])
        settler = Settler(Link(dsn, "pgqueue test", Outage(dsn)), lambda _: None)
        claiming = asyncio.create_task(asyncio.sleep(0))
        settling = asyncio.create_task(settler.run())
        left = await finish(runner, settler, claiming, settling, grace=0.1, hurry=asyncio.Event())
        go_on.set()
        return left

    assert asyncio.run(play()) == 1
    assert {(outcome.reason, outcome.begun, outcome.counted) for n, outcome in done.items() if n > 1} == {
        ("released", False, False)
    }
    assert len(done) == 22
    assert done[1] == Outcome.released()
    assert len(begun) == 1


@pytest.mark.parametrize("way", ["async", "thread", "chunk", "process"])
def test_running_handlers_are_stopped_after_the_lease_is_lost_and_nothing_is_settled(
    way: str, tmp_path: Path
) -> None:
    app, stopped, done = App(), [], list[tuple[int, Conclusion]]()
    begun = threading.Event()

    @app.task(name="async")
    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append("cancelled")
            raise

    @app.task(name="thread")
    def checks(job: Job) -> None:
        begun.set()
        try:
            while True:
                job.check()
                time.sleep(0.001)
        except BaseException:
            stopped.append("stopped")
            raise

    @app.task(name="chunk", chunk=1)
    async def waits_too(jobs: list[Job]) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append("cancelled")
            raise

    def note(one: Attempt, outcome: Conclusion) -> None:
        done.append((one.id, outcome))

    async def play() -> None:
        is_child = way == "process"
        runner = Runner(
            killer_tasks.app if is_child else app, slots=2, executor="async", app_path="tests.apps.killer_tasks:app",
            crash_limit=3, done=note,
        )  # fmt: skip
        gate = tmp_path / "gate"
        one = killer_attempt(1, "child", 0, gate=str(gate)) if is_child else attempt(1, way)
        runner.take([one])
        await until(lambda: is_child or begun.is_set())
        runner.lose()
        await until(lambda: bool(done) and (is_child or bool(stopped)))
        async with asyncio.timeout(20):
            await runner.wait_idle()
        runner.close()

    asyncio.run(play())
    assert done == [(1, NothingToSettle.LEASE_LOST)]
    assert stopped == ([] if way == "process" else ["stopped"] if way == "thread" else ["cancelled"])
