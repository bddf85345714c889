"""An async handler on a thread is cancelled at its timeout, on request and before it begins, and never goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from pgqueue import App, Call
from pgqueue.model.outcome import Outcome
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running import threads
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.running.threads import InterruptedByTimeout
from tests.runner_alone import Item, attempt, played


def test_an_async_handler_on_a_thread_is_cancelled_at_its_timeout_and_never_goes_on() -> None:
    app = App()
    seen: list[object] = []

    go_on = asyncio.Event()

    @app.task(name="slow")
    async def slow() -> None:
        try:
            await go_on.wait()
            seen.append("went on")
        except BaseException as error:
            seen.append(type(error))
            raise

    @app.task(name="next")
    async def following() -> None:
        go_on.set()
        for _ in range(10):
            await asyncio.sleep(0)

    ended = played(app, [[attempt(1, "slow", timeout=0.05)], [attempt(2, "next")]], executor="thread")
    assert seen == [asyncio.CancelledError]
    assert [ended[n].state for n in (1, 2)] == ["retrying", "completed"]
    assert "JobTimeoutError" in str(ended[1].error)


def test_an_async_handler_on_a_thread_is_cancelled_on_request() -> None:
    app = App()
    begun, seen = threading.Event(), []

    @app.task(name="waits")
    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except BaseException as error:
            seen.append(type(error))
            raise

    async def cancel() -> Conclusion:
        ended = asyncio.get_running_loop().create_future()
        runner = Runner(
            app, slots=1, executor="thread", app_path=None, crash_limit=3, done=lambda _, outcome: ended.set_result(outcome)
        )  # fmt: skip
        runner.take([attempt(1, "waits")])
        await asyncio.to_thread(begun.wait, 30)
        runner.cancel([1])
        async with asyncio.timeout(30):
            outcome: Conclusion = await ended
        runner.close()
        return outcome

    outcome = asyncio.run(cancel())
    assert isinstance(outcome, Outcome)
    assert outcome.state == "cancelled"
    assert seen == [asyncio.CancelledError]


@pytest.mark.parametrize("ask", ["cancel", "release_running"])
@pytest.mark.parametrize("task", ["waits", "chunk"])
def test_an_async_handler_on_a_thread_is_cancelled_if_it_was_asked_to_stop_before_it_began(
    task: str, ask: str
) -> None:
    app, seen = App(), []
    begun, asked, ended, never = threading.Event(), threading.Event(), threading.Event(), asyncio.Event()

    @app.middleware
    def before(call: Call) -> Iterator[None]:
        begun.set()
        asked.wait(30)
        yield

    async def handle() -> None:
        try:
            async with asyncio.timeout(5):
                await never.wait()
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            ended.set()

    @app.task(name="waits")
    async def waits() -> None:
        await handle()

    @app.task(name="chunk", chunk=2)
    async def chunk(items: list[Item]) -> None:
        await handle()

    async def play() -> None:
        runner = Runner(app, slots=1, executor="thread", app_path=None, crash_limit=3, done=lambda *_: None)
        runner.take([attempt(1, task, **({"n": 1} if task == "chunk" else {}))])
        await asyncio.to_thread(begun.wait, 30)
        if ask == "cancel":
            runner.cancel([1])
        else:
            runner.release_running()
        asked.set()
        assert await asyncio.to_thread(ended.wait, 30)
        runner.close()

    asyncio.run(play())
    assert seen == [asyncio.CancelledError]


def test_an_async_handler_is_cancelled_if_an_interruption_hits_the_loop_of_its_thread() -> None:
    app = App()
    seen: list[object] = []

    @app.task(name="interrupted")
    async def interrupted() -> None:
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        select = selector.select

        def select_interrupted(_seconds: float | None) -> None:
            selector.select = select
            raise InterruptedByTimeout

        selector.select = select_interrupted
        try:
            await asyncio.sleep(0.03)
            seen.append("went on")
        except BaseException as error:
            seen.append(type(error))
            raise

    @app.task(name="next")
    async def following() -> None:
        await asyncio.sleep(0.09)

    ended = played(app, [[attempt(1, "interrupted")], [attempt(2, "next")]], executor="thread")
    assert seen == [asyncio.CancelledError]
    assert [ended[n].state for n in (1, 2)] == ["retrying", "completed"]


def test_an_async_handler_that_blocks_its_thread_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BLOCKED_AFTER", 0.05)
    app = App()
    seen: list[object] = []

    @app.task(name="blocks")
    async def blocks() -> None:
        try:
            while True:
                time.sleep(0.001)
        except BaseException as error:
            seen.append(type(error))
            raise

    @app.task(name="next")
    async def following() -> None:
        await asyncio.sleep(0.01)

    ended = played(app, [[attempt(1, "blocks", timeout=0.05)], [attempt(2, "next")]], executor="thread")
    assert seen == [InterruptedByTimeout]
    assert [ended[n].state for n in (1, 2)] == ["retrying", "completed"]
