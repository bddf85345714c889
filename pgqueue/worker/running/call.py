"""One call of a handler with one attempt, within the app's middleware.

``perform`` and ``perform_async`` are the only places that call a handler of one job. Nothing it raises leaves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from pgqueue.app.app import App
from pgqueue.errors import InvalidArgumentsError, UndecodableJobError
from pgqueue.model.hooks import Call
from pgqueue.model.job import Job
from pgqueue.model.outcome import Outcome
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.tracing import mark_failed, run_span
from pgqueue.text.described import describe
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.running.contexts import OwnContext
from pgqueue.worker.running.endings import failed, stopped, succeeded, value_of
from pgqueue.worker.running.middleware import around, around_async


def decoded(spec: TaskSpec, attempt: Attempt) -> Any:
    """The arguments; raises what makes the job dead at once."""
    try:
        return spec.decode(attempt.args)
    except InvalidArgumentsError:
        raise
    except Exception as error:
        raise undecodable("Its arguments", error) from error


def job_of(attempt: Attempt, app: App) -> Job:
    """What a handler or middleware sees of it; raises what makes the job dead at once."""
    try:
        return attempt.job(app)
    except Exception as error:
        raise undecodable("Its row", error) from error


def undecodable(what: str, error: Exception) -> UndecodableJobError:
    return UndecodableJobError(f"{what} cannot be decoded: {describe(error)}")


def arguments(spec: TaskSpec, attempt: Attempt, app: App) -> dict[str, Any]:
    """The handler's keyword arguments."""
    kwargs: dict[str, Any] = decoded(spec, attempt)
    if spec.job_parameter is not None:
        kwargs[spec.job_parameter] = job_of(attempt, app)
    return kwargs


def perform(
    spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, *, traced: bool
) -> Outcome | None:
    """Runs a handler on this thread, an async one on ``runner``'s loop; returns what is to be settled."""
    return copy_context().run(_perform, spec, attempt, app, runner, traced)


def _perform(
    spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, traced: bool
) -> Outcome | None:
    try:
        kwargs = arguments(spec, attempt, app)
        attempt.started_at = monotonic()
        with span_of(spec, attempt, traced) as span:
            try:
                own = OwnContext(runner)
                if app.layers and not spec.is_internal:
                    value = _call_within(spec, attempt, app, kwargs, own)
                else:
                    value = own.call(spec.function, **kwargs)
                return succeeded(spec, attempt, value)
            except BaseException as error:
                if span is not None:
                    mark_failed(span, error)
                raise
    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt of a handler end here
        return failed(spec, attempt, error)


async def perform_async(spec: TaskSpec, attempt: Attempt, app: App, *, traced: bool) -> Outcome | None:
    """Runs an async handler on this loop; returns what is to be settled."""
    try:
        kwargs = arguments(spec, attempt, app)
        attempt.started_at = monotonic()
        if attempt.timeout is None and attempt.until_deadline() is None and not traced and not app.layers:
            return succeeded(spec, attempt, await spec.function(**kwargs))
        with span_of(spec, attempt, traced) as span:
            try:
                async with asyncio.timeout(attempt.seconds_left()) as timer:
                    if app.layers and not spec.is_internal:
                        value = await _call_within_async(spec, attempt, app, kwargs, timer)
                    else:
                        value = await spec.function(**kwargs)
                return succeeded(spec, attempt, value)
            except BaseException as error:
                attempt.timed_out = timer.expired()
                if span is not None:
                    mark_failed(span, error)
                raise
    except BaseException as error:  # noqa: BLE001
        return failed(spec, attempt, error)


def _call_within(
    spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any], own: OwnContext
) -> object:
    """Calls a handler on this thread within the app's middleware, which sees a timeout as the error it is."""
    call = _call_of(spec, attempt, app, kwargs)
    with around(app.layers, call, own):
        try:
            value = own.call(spec.function, **call.arguments)
        except BaseException as error:
            told = stopped(attempt, error)
            if told is error:
                raise
            raise told from None
        call.result = own.call(value_of, value)
    return call.result


async def _call_within_async(
    spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any], timer: asyncio.Timeout
) -> object:
    """The same of an async handler, on this loop."""
    call = _call_of(spec, attempt, app, kwargs)
    async with around_async(app.layers, call):
        try:
            value = await spec.function(**call.arguments)
        except BaseException as error:
            attempt.timed_out = timer.expired()
            told = stopped(attempt, error)
            if told is error:
                raise
            raise told from None
        call.result = value_of(value)
    return call.result


def _call_of(spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any]) -> Call:
    job = kwargs[spec.job_parameter] if spec.job_parameter is not None else job_of(attempt, app)
    return Call(job, kwargs)


@contextmanager
def span_of(spec: TaskSpec, attempt: Attempt, traced: bool) -> Iterator[Any]:
    if not traced:
        yield None
        return
    with run_span(spec.name, attempt.id, attempt.queue, attempt.attempt, attempt.trace_context) as span:
        yield span
