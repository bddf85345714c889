"""One call of a handler with the attempts of a chunk; each keeps an outcome of its own.

``perform_chunk`` and ``perform_chunk_async`` are the only places that call such a handler. Nothing it raises leaves them.
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
from pgqueue.model.outcome import Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.tracing import mark_failed
from pgqueue.text.described import TRACEBACK
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.running.call import decoded, job_of, span_of
from pgqueue.worker.running.contexts import OwnContext, steps_in
from pgqueue.worker.running.endings import failed, stopped, succeeded, value_of
from pgqueue.worker.running.middleware import around, around_async


class Chunk:
    """Attempts of one task for one call. It is to threads and children what an ``Attempt`` is to them alone."""

    __slots__ = ("attempts", "timed_out")

    def __init__(self, attempts: list[Attempt]) -> None:
        self.attempts = attempts
        self.timed_out = False

    def __repr__(self) -> str:
        first = self.attempts[0]
        return f"chunk of {len(self.attempts)} jobs ({first.task}), the first is {first.id}"

    @property
    def lost(self) -> bool:
        return all(attempt.lost for attempt in self.attempts)

    def seconds_left(self) -> float | None:
        """That of the attempt which may run longest; None if one may run for ever. The others end before it (chunks.py)."""
        limits = [limit for attempt in self.attempts if (limit := attempt.seconds_left()) is not None]
        return max(limits) if len(limits) == len(self.attempts) else None


class Item:
    """An attempt on its way through the call: either its ``outcome`` is decided already, or it takes part."""

    __slots__ = ("attempt", "call", "context", "outcome", "takes_part", "within")

    def __init__(self, spec: ChunkSpec, attempt: Attempt, app: App) -> None:
        self.attempt = attempt
        self.call: Any = None
        self.outcome: Outcome | None = None
        self.takes_part = True
        self.context = copy_context()  # of its own middleware, which sees that of no other attempt
        self.within: Any = None  # its middleware and its span: a generator that stands at its yield
        with self.ending(spec):
            argument = self.context.run(decoded, spec, attempt)
            attempt.started_at = monotonic()
            if spec.wants_jobs or app.layers:
                job = job_of(attempt, app)
                self.call = Call(job, argument if spec.parameters[0] is not None else job.args)
            else:
                self.call = argument

    @contextmanager
    def ending(self, spec: ChunkSpec) -> Iterator[None]:
        """What is raised within ends this attempt, and no other."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001
            self.takes_part = False
            self.outcome = failed(spec, self.attempt, error)

    def end(self, spec: ChunkSpec, result: object) -> None:
        """By what the handler returned for it."""
        if is_error(result):
            self.outcome = failed(spec, self.attempt, result)
        else:
            self.outcome = self.context.run(succeeded, spec, self.attempt, result)


def is_error(value: object) -> TypeIs[BaseException]:
    """Whether it is an error, by its true class: its ``__class__`` may lie."""
    return issubclass(type(value), BaseException)


def call_handler(spec: ChunkSpec, items: list[Item]) -> Any:
    """What the handler returned, or its coroutine."""
    calls = [item.call for item in items]
    arguments = [call.arguments if isinstance(call, Call) else call for call in calls]
    return spec.call_with(arguments, [call.job for call in calls] if spec.wants_jobs else [])


def all_of(items: list[Item], error: BaseException, chunk: Chunk) -> list[Any]:
    """The call failed, and so did each of its attempts."""
    for item in items:
        item.attempt.timed_out |= chunk.timed_out
    return [error] * len(items)


def seen(item: Item, result: Any) -> Any:
    """What its middleware sees: if the attempt ended while the call went on for others, that, whatever the handler returned."""
    if item.attempt.settled:
        return result
    try:
        item.attempt.check()
    except Exception as ended:  # noqa: BLE001
        return ended
    return stopped(item.attempt, result) if is_error(result) else result


def backwards(items: list[Item], results: list[Any]) -> Iterable[tuple[Item, Any]]:
    """In the opposite order in which they were begun, as contexts end. One error of all keeps the traceback it came with."""
    traces = [TRACEBACK.__get__(result) if is_error(result) else None for result in results]
    for item, result, trace in zip(reversed(items), reversed(results), reversed(traces), strict=True):
        if is_error(result):
            TRACEBACK.__set__(result, trace)
        yield item, result


def perform_chunk(
    spec: ChunkSpec, chunk: Chunk, app: App, runner: asyncio.Runner, *, traced: bool
) -> list[Outcome | None]:
    """On this thread, an async handler on ``runner``'s loop; returns what is to be settled of each attempt."""
    return copy_context().run(_perform_chunk, spec, chunk, app, runner, traced)


def _perform_chunk(
    spec: ChunkSpec, chunk: Chunk, app: App, runner: asyncio.Runner, traced: bool
) -> list[Outcome | None]:
    items = [Item(spec, attempt, app) for attempt in chunk.attempts]
    if app.layers or traced:
        for item in taking_part(items):
            with item.ending(spec):
                item.within = _within(spec, item, app, runner, traced)
                item.context.run(next, item.within)
    if held := taking_part(items):
        try:
            results = spec.results_of(OwnContext(runner).call(call_handler, spec, held), len(held))
        except BaseException as error:  # noqa: BLE001
            results = all_of(held, error, chunk)
        for item, result in backwards(held, results):
            with item.ending(spec):
                item.end(spec, _left(item, result))
    return [item.outcome for item in items]


def taking_part(items: list[Item]) -> list[Item]:
    return [item for item in items if item.takes_part]


def _left(item: Item, result: Any) -> Any:
    """The result, once its middleware has seen it."""
    if item.within is None:
        return seen(item, result)
    try:
        result = seen(item, result)
        item.context.run(item.within.throw if is_error(result) else item.within.send, result)
    except StopIteration as end:
        return end.value
    finally:
        item.context.run(item.within.close)


def _within(
    spec: ChunkSpec, item: Item, app: App, runner: asyncio.Runner, traced: bool
) -> Generator[None, object, object]:
    """Gets what the handler returned for the item, or raised, at its yield; returns the result."""
    call: Call = item.call if isinstance(item.call, Call) else Call(job_of(item.attempt, app), item.call)
    with span_of(spec, item.attempt, traced) as span:
        try:
            with around(app.layers, call, OwnContext(runner)):
                call.result = value_of((yield))
        except BaseException as error:
            if span is not None:
                mark_failed(span, error)
            raise
    return call.result


async def perform_chunk_async(
    spec: ChunkSpec, chunk: Chunk, app: App, *, traced: bool
) -> list[Outcome | None]:
    """The same of an async handler, on this loop."""
    items = [Item(spec, attempt, app) for attempt in chunk.attempts]
    if app.layers or traced:
        for item in taking_part(items):
            with item.ending(spec):
                item.within = _within_async(spec, item, app, traced)
                await steps_in(item.context, anext(item.within))
    if held := taking_part(items):
        try:
            async with asyncio.timeout(chunk.seconds_left()) as timer:
                value = await steps_in(copy_context(), _called(spec, held))
            results = spec.results_of(value, len(held))
        except BaseException as error:  # noqa: BLE001
            chunk.timed_out = timer.expired()
            results = all_of(held, error, chunk)
        for item, result in backwards(held, results):
            with item.ending(spec):
                item.end(spec, await _left_async(item, result))
    return [item.outcome for item in items]


async def _called(spec: ChunkSpec, items: list[Item]) -> Any:
    return await call_handler(spec, items)


async def _left_async(item: Item, result: Any) -> Any:
    if item.within is None:
        return seen(item, result)
    try:
        result = seen(item, result)
        step = item.within.athrow if is_error(result) else item.within.asend
        return await steps_in(item.context, step(result))
    finally:
        await steps_in(item.context, item.within.aclose())


async def _within_async(spec: ChunkSpec, item: Item, app: App, traced: bool) -> AsyncGenerator[Any, Any]:
    """As ``_within``; an async generator returns nothing, so the result is its second yield."""
    call: Call = item.call if isinstance(item.call, Call) else Call(job_of(item.attempt, app), item.call)
    with span_of(spec, item.attempt, traced) as span:
        try:
            async with around_async(app.layers, call):
                call.result = value_of((yield))
        except BaseException as error:
            if span is not None:
                mark_failed(span, error)
            raise
    yield call.result


def chunk_failed(
    spec: ChunkSpec, chunk: Chunk, error: BaseException, *, crashed: bool = False, crash_limit: int = 3
) -> list[Outcome | None]:
    """What becomes of the attempts of a call that ended from outside."""
    for attempt in chunk.attempts:
        attempt.timed_out |= chunk.timed_out
    return [
        failed(spec, attempt, error, crashed=crashed, crash_limit=crash_limit) for attempt in chunk.attempts
    ]
