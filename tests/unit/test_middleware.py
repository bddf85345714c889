"""Tests of middleware around attempts: its order, the values that it sees, and the values that it can change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgqueue import App, Call, Cancel, Dead, Job, Retry, Snooze
from pgqueue.errors import DeadlineExceededError, InvalidOptionError, JobTimeoutError, LeaseLostError
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.rare_fields import RareFields
from pgqueue.worker.running.call import perform, perform_async
from pgqueue.worker.running.hook_tasks import handlers, hook_spec
from pgqueue.worker.running.runner import Runner
from tests import factories
from tests.conclusions import reason_of


def attempt(
    task: str = "t", args: str = "{}", timeout: float | None = None, extra: str | None = None
) -> Attempt:
    return factories.attempt(7, task, args, timeout=timeout, max_attempts=3, rare=extra)


def performed(app: App, way: str, args: str = "{}", timeout: float | None = None) -> Conclusion:
    """Runs an attempt of the task ``t``, as a worker does on a thread or on the loop."""
    spec = app.tasks["t"].spec
    if way == "loop":
        return asyncio.run(perform_async(spec, attempt(args=args, timeout=timeout), app, traced=False))
    with asyncio.Runner() as runner:
        return perform(spec, attempt(args=args), app, runner, traced=False)


def declare(app: App, way: str, handler: Callable[..., Any]) -> None:
    """Declares the task ``t``: with ``def`` for a thread, otherwise with ``async def``, which runs on a thread or on the loop."""
    if way == "thread":

        def run(x: int = 0) -> Any:
            return handler(x)
    else:

        async def run(x: int = 0) -> Any:
            await asyncio.sleep(0)
            return handler(x)

    app.task(name="t", retry=[1, 2])(run)


WAYS = pytest.mark.parametrize("way", ["thread", "async on a thread", "loop"])
# What a handler returns or raises, and the state of its job afterwards.
ENDS: list[tuple[Any, str]] = [
    (None, "completed"),
    ({"a": 1}, "completed"),
    (ValueError("no"), "retrying"),
    (Retry(after=5), "retrying"),
    (Snooze(5), "pending"),
    (Cancel(), "cancelled"),
    (Dead("why"), "dead"),
    (SystemExit(3), "retrying"),
]


@WAYS
@settings(deadline=None, max_examples=50)
@given(
    kinds=st.lists(st.sampled_from(["def", "async", "object"]), min_size=1, max_size=4),
    end=st.sampled_from(ENDS),
)
def test_middleware_is_entered_in_order_and_left_in_reverse_order_however_the_handler_ends(way, kinds, end):
    app, story = App(), []

    def layer(number: int, kind: str) -> Any:
        def plain(call: Call) -> Iterator[None]:
            story.append(("in", number))
            try:
                yield
            except BaseException as error:
                story.append((type(error), number))
                raise
            story.append((call.result, number))

        async def waiting(call: Call) -> AsyncIterator[None]:
            await asyncio.sleep(0)
            story.append(("in", number))
            try:
                yield
            except BaseException as error:
                await asyncio.sleep(0)
                story.append((type(error), number))
                raise
            await asyncio.sleep(0)
            story.append((call.result, number))

        def made(call: Call) -> AbstractContextManager[None]:
            return contextmanager(plain)(call)

        return {"def": plain, "async": waiting, "object": made}[kind]

    for number, kind in enumerate(kinds):
        app.middleware(layer(number, kind))
    value, state = end

    def handler(_x: int) -> Any:
        story.append("handler")
        if isinstance(value, ValueError | SystemExit):
            raise value
        return value

    declare(app, way, handler)
    outcome = performed(app, way)
    assert isinstance(outcome, Outcome)
    assert outcome.state == state
    numbers = list(range(len(kinds)))
    seen = type(value) if isinstance(value, BaseException) else value
    assert story == [("in", n) for n in numbers] + ["handler"] + [(seen, n) for n in reversed(numbers)]


@WAYS
def test_middleware_sees_the_job_and_can_change_its_arguments_and_its_result(way):
    app, seen = App(), []

    @app.middleware
    def change(call: Call) -> Iterator[None]:
        seen.append((call.job.id, call.job.task, call.job.args, dict(call.arguments)))
        call.arguments["x"] += 1
        yield
        call.result *= 10

    declare(app, way, lambda x: x)
    outcome = performed(app, way, '{"x": "4"}')
    assert seen == [(7, "t", {"x": "4"}, {"x": 4})]
    assert isinstance(outcome, Outcome)
    assert outcome.result == "50"


@WAYS
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("error", "state"), [(OSError("no"), "retrying"), (Snooze(5), "pending"), (Dead(), "dead")]
)
def test_an_error_of_middleware_counts_like_an_error_of_the_handler(way, when, error, state):
    app, ran = App(), []

    @app.middleware
    async def fail(call: Call) -> AsyncIterator[None]:
        if when == "before":
            raise error
        yield
        raise error

    declare(app, way, ran.append)
    outcome = performed(app, way)
    assert isinstance(outcome, Outcome)
    assert outcome.state == state
    assert ran == ([] if when == "before" else [0])


@WAYS
def test_the_attempt_completes_if_middleware_swallows_the_error_of_the_handler(way):
    app = App()

    @app.middleware
    def forgive(_call: Call) -> Iterator[None]:
        with suppress(ValueError):
            yield

    def handler(_x: int) -> None:
        raise ValueError

    declare(app, way, handler)
    assert performed(app, way) is COMPLETED


def deadline(seconds: float) -> str:
    return RareFields(None, time.monotonic() + seconds, None).text()


@pytest.mark.parametrize("end", ["timeout", "deadline", "cancel", "lost"])
def test_middleware_sees_how_an_attempt_was_ended_from_outside(end):
    app, seen = App(), []

    @app.middleware
    async def watch(_call: Call) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            seen.append(type(error))
            raise

    @app.task(name="t")
    async def t() -> None:
        await asyncio.Event().wait()

    job = attempt(
        timeout=0.05 if end == "timeout" else None, extra=deadline(0.05) if end == "deadline" else None
    )

    async def play() -> Conclusion:
        task = asyncio.create_task(perform_async(t.spec, job, app, traced=False))
        if end in ("cancel", "lost"):
            await asyncio.sleep(0)
            job.end(Ending.CANCELLED if end == "cancel" else Ending.LOST)
            task.cancel()
        return await task

    outcome = asyncio.run(play())
    wanted: dict[str, tuple[type, str]] = {
        "timeout": (JobTimeoutError, "failed"), "deadline": (DeadlineExceededError, "deadline_exceeded"), "cancel": (Cancel, "cancelled"),
        "lost": (LeaseLostError, "LEASE_LOST"),
    }  # fmt: skip
    assert (seen, reason_of(outcome)) == ([wanted[end][0]], wanted[end][1])


def test_middleware_on_a_thread_sees_a_timeout_or_a_cancel_that_job_check_raises():
    app, seen = App(), []

    @app.middleware
    def watch(_call: Call) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            seen.append(type(error))
            raise

    @app.task(name="t", retry=[1])
    def t(job: Job) -> None:
        while True:
            time.sleep(0.005)
            if job.timeout is None:
                job.check()

    ended: list[str] = []

    async def play(job: Attempt, *, cancelled: bool = False) -> None:
        runner = Runner(
            app, slots=2, executor="thread", app_path=None, crash_limit=3,
            done=lambda _, outcome: ended.append(reason_of(outcome)),
        )  # fmt: skip
        runner.take([job])
        if cancelled:
            runner.cancel([job.id])
        async with asyncio.timeout(10):
            await runner.wait_idle()
        runner.close()

    asyncio.run(play(attempt(timeout=0.1)))
    asyncio.run(play(attempt(), cancelled=True))
    assert (seen, ended) == ([JobTimeoutError, Cancel], ["failed", "cancelled"])


def test_middleware_is_not_called_if_the_arguments_do_not_fit():
    app, seen = App(), []

    @app.middleware
    def watch(call: Call) -> Iterator[None]:
        seen.append(call)
        yield

    declare(app, "thread", lambda x: x)
    outcome = performed(app, "thread", '{"x": "no"}')
    assert isinstance(outcome, Outcome)
    assert (outcome.reason, seen) == ("bad_arguments", [])


def test_middleware_is_not_called_around_hooks():
    app, seen = App(), []

    @app.middleware
    def watch(call: Call) -> Iterator[None]:
        seen.append(call)
        yield

    spec = hook_spec("t:on_completed", "completed", [seen.append])
    stored = {"id": 3, "queue": "q", "task": "t", "state": "completed", "priority": 0, "run_at": "2030-01-01T00:00:00+00:00",
            "attempt": 1, "max_attempts": 3, "lease_id": 1, "created_at": "2030-01-01T00:00:00.5+00:00", "new": 1}  # fmt: skip
    hook = attempt(
        "t:on_completed", f'{{"job": {str(stored).replace(chr(39), chr(34))}, "reason": "completed"}}'
    )
    with asyncio.Runner() as runner:
        assert perform(spec, hook, app, runner, traced=False) is not None
    [job] = seen
    assert isinstance(job, Job)
    assert (job.id, job.state, job.args, job.tags, job.run_at.year, job.created_at.microsecond) == (
        3, "completed", {}, (), 2030, 500_000,
    )  # fmt: skip


@pytest.mark.parametrize("function", [5, None, "mw"])
def test_a_value_or_a_function_that_cannot_be_middleware_is_refused(function):
    with pytest.raises(InvalidOptionError, match="is no middleware"):
        App().middleware(function)

    async def coroutine(call: Call) -> None: ...

    with pytest.raises(InvalidOptionError, match="is no middleware"):
        App().middleware(coroutine)


# ---------------------------------------------------------------- declaring hooks


def test_the_hooks_of_a_task_and_of_its_app_form_one_task_for_each_event():
    app = App()

    def any_failure(job: Job, failure: object) -> None: ...

    @app.task(name="early", on_dead=any_failure)
    def early() -> None: ...

    app.on_dead(any_failure)

    @app.on_completed
    async def done(job: Job) -> None: ...

    @app.task(name="late", on_retry=any_failure)
    def late() -> None: ...

    found = handlers(app)
    assert sorted(found) == [
        "early", "early:on_completed", "early:on_dead", "late", "late:on_completed", "late:on_dead", "late:on_retry",
    ]  # fmt: skip
    assert [found[name].is_async for name in ("early:on_dead", "late:on_completed")] == [False, True]
    assert found["early"].completion is not COMPLETED
    assert found["early"].completion == COMPLETED


def test_the_handler_of_a_task_is_not_wrapped_if_the_app_has_no_hooks():
    app = App()

    @app.task(name="t")
    async def t() -> None: ...

    assert handlers(app) == {"t": t.spec}
    assert handlers(app)["t"] is t.spec
    assert t.spec.completion is COMPLETED


@pytest.mark.parametrize(
    ("event", "hook"), [("on_dead", lambda job: None), ("on_completed", lambda: None), ("on_retry", 5)]
)
def test_a_hook_that_could_not_be_called_is_refused(event, hook):
    app = App()
    with pytest.raises(InvalidOptionError, match=event):
        getattr(app, event)(hook)
    with pytest.raises(InvalidOptionError, match=event):
        app.task(name="t", **{event: hook})(lambda: None)
    assert not app.tasks
    with pytest.raises(InvalidOptionError, match="on_ded"):
        app.task(name="t", on_ded=hook)(lambda: None)
