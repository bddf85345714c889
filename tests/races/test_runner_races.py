"""What happens to attempts in the moment between their claim and their first step, and to suspects of crash loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from pgqueue import App
from pgqueue.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.extra import Extra
from pgqueue.worker.runner import Runner

SLOTS = 4
Done = list[tuple[int, str | None]]


def attempt(job_id: int, task: str, crash_count: int = 0, **left: float) -> Attempt:
    """``left``: seconds until it expires, or until its deadline."""
    now = time.monotonic()
    moments = [now + left[name] if name in left else None for name in ("expires", "deadline")]
    extra = Extra(*moments, None).text() if left else None
    return Attempt(
        1, (job_id, 1, "default", 0, task, "{}", 1, 6, crash_count, None, 0.0, 0.0, None, extra, None)
    )


def runner_of(app: App, done: Done) -> Runner:
    def note(ended: Attempt, outcome: Outcome | None) -> None:
        done.append((ended.id, outcome and outcome.reason))

    return Runner(app, slots=SLOTS, executor="async", app_path="none:app", crash_limit=3, done=note)


@pytest.mark.parametrize(
    ("give_up", "reason"),
    [
        (lambda runner: runner.lose(), None),
        (lambda runner: runner.cancel([1]), "cancelled"),
        (lambda runner: runner.release_running(), "released"),
    ],
    ids=["lost", "cancelled", "released"],
)
@pytest.mark.parametrize("executor", ["async", "process"])
def test_an_attempt_that_ends_before_its_first_step_frees_its_slot(
    executor: str, give_up: Callable[[Runner], Any], reason: str | None
) -> None:
    """A task that is cancelled before it has run at all never runs: it cannot report its own end."""
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


@pytest.mark.parametrize("crash_count", [0, 2])
@pytest.mark.parametrize(
    ("left", "reason"),
    [({}, "cancelled"), ({"expires": 0.0}, "expired"), ({"deadline": 0.0}, "deadline_exceeded"), ({"deadline": 60.0}, "completed")],
    ids=str,
)  # fmt: skip
def test_what_waited_too_long_for_its_turn_or_was_cancelled_meanwhile_never_begins(
    left: dict[str, float], reason: str, crash_count: int
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
        runner.take([attempt(9, "late", crash_count, **left)])
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


def test_a_suspect_runs_alone() -> None:
    """A job that was at two crashes has nobody beside it, neither before nor after it has begun, and nothing is claimed."""
    app = App()
    running: set[str] = set()
    together: set[frozenset[str]] = set()

    async def run(name: str) -> None:
        running.add(name)
        await asyncio.sleep(0)
        together.add(frozenset(running))
        await asyncio.sleep(0)
        running.discard(name)

    @app.task(name="healthy")
    async def healthy() -> None:
        await run("healthy")

    @app.task(name="suspect")
    async def suspect() -> None:
        await run("suspect")

    done: Done = []

    async def play() -> None:
        runner = runner_of(app, done)
        runner.take([attempt(1, "healthy")])
        assert runner.prefetch() == 0
        runner.take([attempt(2, "suspect", crash_count=2)])
        assert runner.prefetch() == -SLOTS
        runner.take([attempt(3, "healthy")])
        while "suspect" not in running:
            await asyncio.sleep(0)
        assert runner.prefetch() == -SLOTS
        runner.take([attempt(4, "healthy")])
        async with asyncio.timeout(5):
            await runner.wait_idle()
        assert runner.prefetch() >= 0

    asyncio.run(play())
    assert together == {frozenset({"healthy"}), frozenset({"suspect"})}
    assert sorted(job_id for job_id, _ in done) == [1, 2, 3, 4]
