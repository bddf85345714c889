"""Async handlers that never suspend share one asyncio task, and must not notice this."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from typing import Any

from pgqueue.app.app import App
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.coroutines import Coroutines
from tests import factories

seen: ContextVar[str] = ContextVar("seen", default="nothing")


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Stage:
    """Runs ``handler(n)`` as an attempt for each n, and keeps the outcome of each."""

    def __init__(self, handler: Callable[[int], Awaitable[object]]) -> None:
        app = App()

        @app.task(name="stage")
        async def stage(n: int) -> Any:
            return await handler(n)

        self.spec = stage.spec
        self.outcomes: dict[int, Conclusion] = {}
        self.attempts: dict[int, Attempt] = {}
        self.coroutines = Coroutines(app, self._finish)
        self._all = asyncio.Event()

    def _finish(self, attempt: Attempt, outcome: Conclusion) -> None:
        assert attempt.id not in self.outcomes, "the attempt ended twice"
        self.outcomes[attempt.id] = outcome
        if len(self.outcomes) == len(self.attempts):
            self._all.set()

    def start(self, count: int, timeout: float | None = None) -> None:
        for n in range(count):
            self.attempts[n] = factories.attempt(n, "stage", f'{{"n": {n}}}', timeout=timeout, max_attempts=3)
        for attempt in list(self.attempts.values()):
            self.coroutines.start(self.spec, attempt)

    async def end(self) -> list[str]:
        async with asyncio.timeout(10):
            await self._all.wait()
        return [outcome.state for _, outcome in sorted(self.outcomes.items())]


@on_a_loop
async def test_handlers_that_do_not_suspend_share_an_asyncio_task_but_no_context() -> None:
    tasks = set()

    async def handler(n: int) -> None:
        assert seen.get() == "nothing"
        seen.set(f"job {n}")
        tasks.add(asyncio.current_task())

    stage = Stage(handler)
    stage.start(100)
    assert await stage.end() == ["completed"] * 100
    assert len(tasks) == 1
    assert stage.outcomes[0] is COMPLETED


@on_a_loop
async def test_handlers_that_suspend_run_at_the_same_time_each_in_its_own_asyncio_task() -> None:
    running: set[asyncio.Task[Any] | None] = set()
    everybody = asyncio.Event()

    async def handler(n: int) -> None:
        if n % 2:
            return
        seen.set(f"job {n}")
        running.add(asyncio.current_task())
        if len(running) == 50:
            everybody.set()
        await everybody.wait()
        assert seen.get() == f"job {n}"

    stage = Stage(handler)
    stage.start(100)
    assert await stage.end() == ["completed"] * 100
    assert len(running) == 50


@on_a_loop
async def test_a_cancellation_ends_only_the_cancelled_attempt() -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def handler(n: int) -> None:
        if n == 1:
            begun.set()
            await asyncio.sleep(3600)
        await go_on.wait()

    stage = Stage(handler)
    stage.start(3)
    await begun.wait()
    stage.attempts[1].end(Ending.CANCELLED)
    stage.coroutines.stop(stage.attempts[1])
    go_on.set()
    assert await stage.end() == ["completed", "cancelled", "completed"]


@on_a_loop
async def test_an_attempt_that_is_stopped_before_it_begins_never_begins() -> None:
    begun = []

    async def handler(n: int) -> None:
        begun.append(n)

    stage = Stage(handler)
    stage.start(3)
    stage.attempts[1].end(Ending.CANCELLED)
    stage.coroutines.stop(stage.attempts[1])
    assert await stage.end() == ["completed", "cancelled", "completed"]
    assert begun == [0, 2]


@on_a_loop
async def test_a_handler_that_cancels_its_own_asyncio_task_harms_no_other_attempt() -> None:
    async def handler(n: int) -> None:
        if n == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        elif n == 2:
            await asyncio.sleep(0)

    stage = Stage(handler)
    stage.start(4)
    assert await stage.end() == ["completed"] * 4


@on_a_loop
async def test_an_attempt_completes_if_its_handler_swallows_the_cancellation() -> None:
    begun = asyncio.Event()

    async def handler(n: int) -> None:
        if n == 0:
            begun.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return

    stage = Stage(handler)
    stage.start(2)
    await begun.wait()
    stage.coroutines.stop(stage.attempts[0])
    assert await stage.end() == ["completed", "completed"]


@on_a_loop
async def test_a_handler_can_catch_its_own_timeout_but_the_timeout_of_the_job_ends_the_attempt() -> None:
    async def handler(n: int) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        except TimeoutError:
            if n == 0:
                return "its own time-out"
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600))
        return "never"

    stage = Stage(handler)
    stage.start(2, timeout=0.05)
    assert await stage.end() == ["completed", "retrying"]
    outcome = stage.outcomes[1]
    assert isinstance(outcome, Outcome)
    assert "longer than its timeout" in (outcome.error or "")


@on_a_loop
async def test_the_loop_runs_other_tasks_between_handlers_that_never_suspend() -> None:
    ticks = 0
    stop = False

    async def clock() -> None:
        nonlocal ticks
        while not stop:
            ticks += 1
            await asyncio.sleep(0)

    async def handler(n: int) -> None:
        end = asyncio.get_running_loop().time() + 0.002
        while asyncio.get_running_loop().time() < end:
            pass

    ticking = asyncio.create_task(clock())
    stage = Stage(handler)
    stage.start(50)
    await stage.end()
    stop = True
    await ticking
    assert ticks >= 10


@on_a_loop
async def test_an_attempt_is_retried_whatever_exception_its_handler_raises() -> None:
    async def handler(n: int) -> None:
        raise [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()][n]

    stage = Stage(handler)
    stage.start(4)
    assert await stage.end() == ["retrying"] * 4
