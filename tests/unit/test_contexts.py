"""Each attempt has its own context (contextvars and decimal), whether it runs on the event loop or on a thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Context, Decimal, setcontext
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, BeforeValidator, field_serializer
from tenacity.wait import wait_base

from pgqueue import App, Call, RetryPolicy
from pgqueue.model.outcome import Outcome
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.contexts import run_alone
from pgqueue.worker.running.runner import Runner
from tests.runner_alone import Item, attempt, played

tenant: ContextVar[str] = ContextVar("tenant", default="none")

WHOLE = str(Decimal(1) / 3)


def spoil(what: str) -> None:
    tenant.set(what)
    setcontext(Context(prec=3))


def view() -> str:
    return f"{tenant.get()} {Decimal(1) / 3}"


CLEAN = json.dumps(f"none {WHOLE}")


def spoilers(app: App) -> None:
    """Declares a task of each kind: sync and async, with and without chunks. Each task returns the context that it sees, and then changes the context."""

    def run() -> str:
        seen = view()
        spoil("a former job")
        return seen

    @app.task(name="plain")
    def plain() -> str:
        return run()

    @app.task(name="suspended")
    async def suspended() -> str:
        await asyncio.sleep(0)
        return run()

    @app.task(name="chunk", chunk=2)
    def chunk(items: list[Item]) -> list[str]:
        return [run()] + [json.loads(CLEAN)] * (len(items) - 1)

    @app.task(name="chunk_async", chunk=2)
    async def chunk_async(items: list[Item]) -> list[str]:
        await asyncio.sleep(0)
        return [run()] + [json.loads(CLEAN)] * (len(items) - 1)


TASKS = ("plain", "suspended", "chunk", "chunk_async")


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("slots", [1, 4])
def test_no_attempt_sees_the_context_of_another_attempt(executor: str, slots: int) -> None:
    app = App()
    spoilers(app)
    many = [
        attempt(n, TASKS[n % 4], **({"n": n} if n % 4 > 1 else {})) for n in range(40)
    ]  # fmt: skip
    ended = played(
        app,
        [many, [attempt(100 + n, TASKS[n], **({"n": n} if n > 1 else {})) for n in range(4)]],
        executor,
        slots,
    )
    assert {o.result for o in ended.values()} == {CLEAN}


seen_by_decoding: list[str] = []


def decoded(value: object) -> object:
    seen_by_decoding.append(view())
    spoil("arguments of a former job")
    return value


Number = Annotated[int, BeforeValidator(decoded)]


class Written(BaseModel):
    n: int = 0

    @field_serializer("n")
    def write(self, n: int) -> int:
        spoil("the result of a former job")
        return n


@dataclass
class Decoded:
    n: Number


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("task", TASKS)
def test_no_attempt_sees_the_context_that_the_decoding_or_encoding_of_another_attempt_has_set(
    task: str, executor: str
) -> None:
    app = App()
    seen_by_decoding.clear()

    @app.task(name="plain")
    def plain(n: Number) -> Written:
        return Written()

    @app.task(name="suspended")
    async def suspended(n: Number) -> Written:
        await asyncio.sleep(0)
        return Written()

    @app.task(name="chunk", chunk=2)
    def chunk(items: list[Decoded]) -> list[Written]:
        return [Written() for _ in items]

    @app.task(name="chunk_async", chunk=2)
    async def chunk_async(items: list[Decoded]) -> list[Written]:
        await asyncio.sleep(0)
        return [Written() for _ in items]

    ended = played(app, [[attempt(n, task, n=n) for n in range(6)]], executor, slots=2)
    assert {o.result for o in ended.values()} == {'{"n":0}'}
    assert seen_by_decoding == [f"none {WHOLE}"] * 6


class Spoiling(wait_base):
    def __call__(self, retry_state: Any) -> float:
        spoil("the policy of a former job")
        return 1.0


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("task", TASKS)
def test_no_attempt_sees_the_context_that_the_retry_policy_of_another_attempt_has_set(
    task: str, executor: str
) -> None:
    app, seen = App(), []
    policy = RetryPolicy(wait=Spoiling())

    def run() -> None:
        seen.append(view())
        raise ValueError("again")

    @app.task(name="plain", retry=policy)
    def plain(n: int) -> None:
        run()

    @app.task(name="suspended", retry=policy)
    async def suspended(n: int) -> None:
        await asyncio.sleep(0)
        run()

    @app.task(name="chunk", chunk=1, retry=policy)
    def chunk(items: list[Item]) -> None:
        run()

    @app.task(name="chunk_async", chunk=1, retry=policy)
    async def chunk_async(items: list[Item]) -> None:
        await asyncio.sleep(0)
        run()

    ended = played(app, [[attempt(n, task, n=n) for n in range(6)]], executor)
    assert {(o.state, o.delay) for o in ended.values()} == {("retrying", 1.0)}
    assert seen == [f"none {WHOLE}"] * 6


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("task", TASKS)
def test_no_middleware_sees_the_context_of_another_attempt_even_in_the_same_chunk(
    executor: str, task: str
) -> None:
    app, seen = App(), []
    spoilers(app)

    @app.middleware
    def sync(call: Call) -> Iterator[None]:
        seen.append(view())
        spoil("sync middleware")
        yield
        tenant.set("sync middleware, after")

    @app.middleware
    async def later(call: Call) -> AsyncIterator[None]:
        token = tenant.set("async middleware")
        yield
        tenant.reset(token)

    many = [attempt(n, task, **({"n": n} if "chunk" in task else {})) for n in range(6)]
    ended = played(app, [many], executor, slots=4)
    assert {o.state for o in ended.values()} == {"completed"}
    assert seen == [f"none {WHOLE}"] * 6


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("task", ["plain", "suspended", "generated"])
def test_middleware_and_handler_of_one_attempt_share_a_context(executor: str, task: str) -> None:
    app = App()

    @app.task(name="plain")
    def plain() -> str:
        return tenant.get()

    @app.task(name="suspended")
    async def suspended() -> str:
        await asyncio.sleep(0)
        return tenant.get()

    @app.task(name="generated")
    def generated() -> Any:
        return (tenant.get() for _ in range(1))

    after = []

    @app.middleware
    async def name_it(call: Call) -> AsyncIterator[None]:
        token = tenant.set(f"job {call.job.id}")
        yield
        after.append(tenant.get())
        tenant.reset(token)

    ended = played(app, [[attempt(n, task) for n in range(3)]], executor)
    results = [json.loads(str(ended[n].result)) for n in range(3)]
    assert results == [[f"job {n}"] if task == "generated" else f"job {n}" for n in range(3)]
    assert after == [f"job {n}" for n in range(3)]


def test_an_asyncio_task_that_a_handler_left_behind_cannot_end_the_loop() -> None:
    """A handler leaves an asyncio task behind. The task raises SystemExit while another attempt runs on the loop."""
    app = App()

    async def leave() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    @app.task(name="careless", executor="thread")
    async def careless() -> None:
        app.left = asyncio.create_task(leave())  # type: ignore[attr-defined]

    @app.task(name="careful", executor="thread")
    async def careful() -> None:
        await asyncio.sleep(0.05)

    ended = played(app, [[attempt(1, "careless")], [attempt(2, "careful")]])
    assert (ended[1].state, ended[2].state) == ("completed", "completed")
    with pytest.raises(SystemExit):
        app.left.result()  # type: ignore[attr-defined]


def test_a_job_of_an_unknown_task_is_released_and_the_other_jobs_run() -> None:
    """A claim never takes such a job. But if SQL of a user marks it as running in this worker, the worker finds it when it looks for lost claims."""
    app = App()

    @app.task(name="ok")
    async def ok() -> None: ...

    ended = played(app, [[attempt(1, "nobody.knows"), attempt(2, "ok"), attempt(3, "nobody.knows")]])
    assert [ended[job].reason for job in (1, 3)] == ["released"] * 2
    assert ended[2].state == "completed"


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_a_handler_that_stops_its_loop_goes_on_and_its_worker_does_not_end(executor: str) -> None:
    app = App()

    @app.task(name="stopping", executor=executor)
    async def stopping() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "went on"

    async def play() -> Conclusion:
        ended: dict[int, Conclusion] = {}
        runner = Runner(
            app, slots=1, executor="async", app_path=None, crash_limit=3,
            done=lambda one, outcome: ended.update({one.id: outcome}),
        )  # fmt: skip
        runner.take([attempt(1, "stopping")])
        await runner.wait_idle()
        runner.close()
        return ended[1]

    outcome = run_alone(play())
    assert isinstance(outcome, Outcome)
    assert outcome.result == '"went on"'


def test_a_coroutine_that_a_sync_handler_returns_is_awaited() -> None:
    app = App()

    async def real() -> str:
        await asyncio.sleep(0)
        return "awaited"

    @app.task(name="wrapped")
    def wrapped() -> Any:
        return real()

    assert played(app, [[attempt(1, "wrapped")]])[1].result == '"awaited"'
