"""Calls a handler once for all attempts of a chunk. Each attempt has an outcome of its own.

The steps are the same as in call.py. The handler is called once for all attempts together. Every other step, such as decoding the arguments
and entering the middleware, is made for each attempt alone, in a context of its own. If such a step raises an error, that attempt ends, and
takes no part in the later steps.

Only ``perform_chunk`` and ``perform_chunk_async`` call handlers that take chunks. They turn every exception of a handler into conclusions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from typing_extensions import TypeIs

from pgqueue.app.app import App
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.hooks import Call
from pgqueue.model.redaction import masked
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.job_context import JobContext, running
from pgqueue.telemetry.tracing import headers_of
from pgqueue.text.counted import count
from pgqueue.text.described import TRACEBACK
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending, OwnCommit
from pgqueue.worker.running.call import decoded, job_of, span_of
from pgqueue.worker.running.conclusions import failed, succeeded, value_of
from pgqueue.worker.running.contexts import OwnContext, steps_in
from pgqueue.worker.running.middleware import around, around_async
from pgqueue.worker.running.work import Kind, TimeLimit


class Chunk:
    """The attempts of one task for one call. Threads and child processes treat a chunk like a single ``Attempt``."""

    __slots__ = ("_timed_out", "attempts")

    def __init__(self, attempts: list[Attempt]) -> None:
        self.attempts = attempts
        self._timed_out = False

    def __repr__(self) -> str:
        first = self.attempts[0]
        return f"chunk of {count(len(self.attempts), 'job')} ({first.task}), the first is {first.id}"

    @property
    def ending(self) -> Ending:
        """Returns the ending of the whole call.

        This is the ending with the lowest number among the endings of the attempts. If the time of the call is up, the ending is at least
        TIMED_OUT.
        """
        of_all = min(attempt.ending for attempt in self.attempts)
        return max(of_all, Ending.TIMED_OUT) if self._timed_out else of_all

    def end(self, ending: Ending) -> bool:
        """Notes that the time of the call is up, which is the only ending of a whole call. ``end_attempts`` later ends its attempts."""
        assert ending is Ending.TIMED_OUT
        is_news, self._timed_out = not self._timed_out, True
        return is_news

    def end_attempts(self) -> None:
        """Called if the call has failed. If the time of the call was up, all its attempts have timed out."""
        if self._timed_out:
            for attempt in self.attempts:
                attempt.end(Ending.TIMED_OUT)

    def seconds_left(self) -> float | None:
        """Returns the seconds that are left for the call: the longest time that one of its attempts has left.

        None: an attempt has no limit. Attempts with less time end earlier, and the call goes on without them (chunks.py).
        """
        each = [left for attempt in self.attempts if (left := attempt.seconds_left()) is not None]
        return max(each) if len(each) == len(self.attempts) else None


class Item:
    """The state of one attempt of a chunk, before, during and after the call. The attempt takes part until its ``conclusion`` is set."""

    __slots__ = ("attempt", "call", "conclusion", "context", "middleware")

    def __init__(self, spec: ChunkSpec, attempt: Attempt, app: App) -> None:
        self.attempt = attempt
        self.call: Any = (
            None  # the argument alone, or a ``Call`` if the handler or middleware needs the job, too
        )
        self.conclusion: Conclusion | None = None
        self.context = copy_context()  # the middleware of this attempt runs in this context
        attempt.spec = spec
        self.context.run(running.set, attempt)
        self.middleware: Any = (
            None  # the generator of ``_middleware``; during the call, it waits at its yield
        )
        with self.ending(spec):
            argument = self.context.run(decoded, spec, attempt)
            attempt.started_at = monotonic()
            if spec.wants_jobs or app.layers:
                job = job_of(attempt, app)
                given = argument if spec.parameters[0] is not None else job.args
                self.call = Call(job, given, headers=headers_of(attempt.trace_context))
            else:
                self.call = argument

    @contextmanager
    def ending(self, spec: ChunkSpec) -> Iterator[None]:
        """If the block raises an error, only this attempt ends, and that error decides its conclusion."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001
            self.conclusion = failed(spec, self.attempt, error)

    def conclude(self, spec: ChunkSpec, result: object) -> None:
        """Sets the conclusion. ``result``: the value or the error that the handler returned for this attempt, or the error of the call."""
        if is_error(result):
            self.conclusion = failed(spec, self.attempt, result)
        else:
            self.conclusion = self.context.run(succeeded, spec, self.attempt, result)


class Together:
    """The attempts of one call, for log records."""

    def __init__(self, items: list[Item]) -> None:
        self.attempts = [item.attempt for item in items]

    def context(self) -> JobContext:
        first = self.attempts[0]
        if len(self.attempts) == 1:
            return first.context()
        ids = tuple(attempt.id for attempt in self.attempts)
        return JobContext(None, first.task, first.queue, None, first.worker_id, ids)

    def mask(self, text: str) -> str:
        return masked(text, frozenset[str]().union(*(attempt.secrets() for attempt in self.attempts)))


def perform_chunk(
    spec: ChunkSpec, chunk: Chunk, app: App, runner: asyncio.Runner, *, traced: bool
) -> list[Conclusion]:
    """Calls the handler on this thread. If it is async, it runs on the loop of ``runner``."""
    return copy_context().run(_perform_chunk, spec, chunk, app, runner, traced)


def _perform_chunk(
    spec: ChunkSpec, chunk: Chunk, app: App, runner: asyncio.Runner, traced: bool
) -> list[Conclusion]:
    items = [Item(spec, attempt, app) for attempt in chunk.attempts]
    if app.layers or traced:
        for item in taking_part(items):
            with item.ending(spec):
                item.middleware = _middleware(item, app, runner, traced)
                item.context.run(next, item.middleware)
    if held := taking_part(items):
        running.set(Together(held))
        try:
            results = spec.results_of(OwnContext(runner).call(call_handler, spec, held), len(held))
        except BaseException as error:  # noqa: BLE001
            results = failed_call(chunk, held, error)
        for item, result in backwards(held, results):
            with item.ending(spec):
                item.conclude(spec, _leave_middleware(item, result))
    return conclusions(items)


async def perform_chunk_async(spec: ChunkSpec, chunk: Chunk, app: App, *, traced: bool) -> list[Conclusion]:
    """Calls an async handler on this loop."""
    items = [Item(spec, attempt, app) for attempt in chunk.attempts]
    if app.layers or traced:
        for item in taking_part(items):
            with item.ending(spec):
                item.middleware = _middleware_async(item, app, traced)
                await steps_in(item.context, anext(item.middleware))
    if held := taking_part(items):
        try:
            running.set(Together(held))
            async with TimeLimit(chunk):
                value = await steps_in(copy_context(), _called(spec, held))
            results = spec.results_of(value, len(held))
        except BaseException as error:  # noqa: BLE001
            results = failed_call(chunk, held, error)
        for item, result in backwards(held, results):
            with item.ending(spec):
                item.conclude(spec, await _leave_middleware_async(item, result))
    return conclusions(items)


# ---------------------------------------------------------------- the steps


def taking_part(items: list[Item]) -> list[Item]:
    return [item for item in items if item.conclusion is None]


def conclusions(items: list[Item]) -> list[Conclusion]:
    found = [item.conclusion for item in items if item.conclusion is not None]
    assert len(found) == len(items)
    return found


def call_handler(spec: ChunkSpec, items: list[Item]) -> Any:
    """Calls the handler, and returns its return value, which is a coroutine if the handler is async."""
    calls = [item.call for item in items]
    arguments = [call.arguments if isinstance(call, Call) else call for call in calls]
    return spec.call_with(arguments, [call.job for call in calls] if spec.wants_jobs else [])


async def _called(spec: ChunkSpec, items: list[Item]) -> object:
    return await call_handler(spec, items)


def failed_call(chunk: Chunk, items: list[Item], error: BaseException) -> list[object]:
    """Returns the results after a failed call: the error of the call, once for each attempt."""
    chunk.end_attempts()
    return [error] * len(items)


def is_error(value: object) -> TypeIs[BaseException]:
    """Returns whether the value is an error. Only its real type counts, because a user's class can define another ``__class__``."""
    return issubclass(type(value), BaseException)


def backwards(items: list[Item], results: list[object]) -> Iterable[tuple[Item, object]]:
    """Yields the items with their results, in reverse order, because middleware that was entered last must be left first.

    Several items can have the same error, and each middleware that the error passes through adds to its traceback. So the original traceback
    is restored for each item.
    """
    traces = [TRACEBACK.__get__(result) if is_error(result) else None for result in results]
    for item, result, trace in zip(reversed(items), reversed(results), reversed(traces), strict=True):
        if is_error(result):
            TRACEBACK.__set__(result, trace)
        yield item, result


def seen(item: Item, result: object) -> object:
    """Returns the result that the middleware gets.

    If the attempt ended while the call went on for other attempts, this is an error that gives the reason.
    """
    reason = item.attempt.reason_to_stop()
    if reason is None or item.attempt.own_commit is OwnCommit.CONFIRMED:
        return result
    return reason.with_traceback(TRACEBACK.__get__(result)) if is_error(result) else reason


def _middleware(
    item: Item, app: App, runner: asyncio.Runner, traced: bool
) -> Generator[None, object, object]:
    """Runs the middleware of one item around a yield. Returns the result, perhaps changed by the middleware.

    The caller sends the handler's result for this item to the yield. If the result is an error, the caller throws it there.
    """
    call = _call_of(item, app)
    with span_of(item.attempt, app, traced), around(app.layers, call, OwnContext(runner)):
        call.result = value_of((yield))
    return call.result


async def _middleware_async(item: Item, app: App, traced: bool) -> AsyncGenerator[Any, Any]:
    """Like ``_middleware``. An async generator cannot return a value, so its second yield passes the result out."""
    call = _call_of(item, app)
    with span_of(item.attempt, app, traced):
        async with around_async(app.layers, call):
            call.result = value_of((yield))
    yield call.result


def _call_of(item: Item, app: App) -> Call:
    if isinstance(item.call, Call):
        return item.call
    return Call(job_of(item.attempt, app), item.call, headers=headers_of(item.attempt.trace_context))


def _leave_middleware(item: Item, result: object) -> Any:
    """Passes an item's result to its middleware, and leaves the middleware. Returns the result, perhaps changed by the middleware."""
    if item.middleware is None:
        return seen(item, result)
    try:
        result = seen(item, result)
        item.context.run(item.middleware.throw if is_error(result) else item.middleware.send, result)
    except StopIteration as end:
        return end.value
    finally:
        item.context.run(item.middleware.close)


async def _leave_middleware_async(item: Item, result: object) -> object:
    if item.middleware is None:
        return seen(item, result)
    try:
        result = seen(item, result)
        step = item.middleware.athrow if is_error(result) else item.middleware.asend
        return await steps_in(item.context, step(result))
    finally:
        await steps_in(item.context, item.middleware.aclose())


def chunk_failed(
    spec: ChunkSpec, chunk: Chunk, error: BaseException, *, crashed: bool = False, crash_limit: int = 3
) -> list[Conclusion]:
    """Returns the conclusions of the attempts if their call ended in ``error``, for example because the call was stopped."""
    chunk.end_attempts()
    return [
        failed(spec, attempt, error, crashed=crashed, crash_limit=crash_limit) for attempt in chunk.attempts
    ]


CHUNK = Kind[Chunk, list[Conclusion]](
    perform_chunk, chunk_failed, lambda chunk: chunk.attempts, lambda conclusions: conclusions
)
