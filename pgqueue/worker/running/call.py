"""Calls a handler for one attempt, on a thread or on the loop.

On a thread and on the loop, the steps are the same: decode the arguments, note the time of the start, open a span, enter the middleware,
call the handler, leave the middleware, close the span, and decide the conclusion (the outcome, or the reason why none is written).

Only ``perform`` and ``perform_async`` call handlers that take one job. They turn every exception of a handler into a conclusion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from pgqueue import __version__
from pgqueue.app.app import App
from pgqueue.database.dsn import server_of
from pgqueue.errors import InvalidArgumentsError, UndecodableJobError
from pgqueue.model.hooks import Call
from pgqueue.model.job import Job
from pgqueue.model.outcome import Cancel, RateLimited, Snooze
from pgqueue.model.suspension import is_suspension
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import JsonObject
from pgqueue.telemetry.job_context import running
from pgqueue.telemetry.tracing import Attempted, headers_of, mark_failed, process_span, stored_attempt
from pgqueue.text.described import describe
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.confirming import aconfirm, confirm
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.conclusions import failed, succeeded, value_of
from pgqueue.worker.running.contexts import OwnContext
from pgqueue.worker.running.middleware import around, around_async
from pgqueue.worker.running.work import Kind, TimeLimit

NO_FAILURES = (Snooze, RateLimited, Cancel)  # instructions after which an attempt does not count as failed


def perform(
    spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, *, traced: bool
) -> Conclusion:
    """Calls the handler on this thread. If it is async, it runs on the loop of ``runner``."""
    return copy_context().run(_perform, spec, attempt, app, runner, traced)


def _perform(spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, traced: bool) -> Conclusion:
    attempt.spec = spec
    running.set(attempt)
    try:
        arguments = arguments_of(spec, attempt, app)
        attempt.started_at = monotonic()
        with span_of(attempt, app, traced):
            own = OwnContext(runner)  # a copy of the context, so it is made when the span is the current one
            if app.layers and not spec.is_internal:
                value = _call_within(spec, attempt, app, arguments, own)
            else:
                value = own.call(spec.function, **arguments)
            return succeeded(spec, attempt, value)
    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt of a handler end here
        if attempt.has_checkpoint is None:
            confirm(attempt)
        return failed(spec, attempt, error)


async def perform_async(spec: TaskSpec, attempt: Attempt, app: App, *, traced: bool) -> Conclusion:
    """Calls an async handler on this loop. If the attempt has no time limit, no span and no middleware, these steps are left out.

    It runs in a context of its own, so that what it sets there does not reach other attempts.
    """
    attempt.spec = spec
    running.set(attempt)
    try:
        arguments = arguments_of(spec, attempt, app)
        attempt.started_at = monotonic()
        has_deadline = attempt.rare is not None and attempt.until_deadline() is not None
        if attempt.timeout is None and not has_deadline and not traced and not app.layers:
            return succeeded(spec, attempt, await spec.function(**arguments))
        with span_of(attempt, app, traced):
            async with TimeLimit(attempt) as limit:
                if app.layers and not spec.is_internal:
                    value = await _call_within_async(spec, attempt, app, arguments, limit)
                else:
                    value = await spec.function(**arguments)
            return succeeded(spec, attempt, value)
    except BaseException as error:  # noqa: BLE001
        if attempt.has_checkpoint is None:
            await aconfirm(attempt)
        return failed(spec, attempt, error)


SINGLE = Kind[Attempt, Conclusion](
    perform, failed, lambda attempt: [attempt], lambda conclusions: conclusions[0]
)


# ---------------------------------------------------------------- the steps


def arguments_of(spec: TaskSpec, attempt: Attempt, app: App) -> JsonObject:
    """Returns the handler's keyword arguments."""
    arguments: JsonObject = decoded(spec, attempt)
    if spec.job_parameter is not None:
        arguments[spec.job_parameter] = job_of(attempt, app)
    return arguments


def decoded(spec: TaskSpec, attempt: Attempt) -> Any:
    """Decodes the arguments of the job. If this fails, raises an error that makes the job dead without a retry."""
    try:
        return spec.decode(attempt.args)
    except InvalidArgumentsError:
        raise
    except Exception as error:
        raise undecodable("Its arguments", error) from error


def job_of(attempt: Attempt, app: App) -> Job:
    """Returns the ``Job`` object for handlers and middleware.

    If the row cannot be decoded, raises an error that makes the job dead without a retry.
    """
    try:
        return attempt.job(AttemptLease(attempt, app))
    except Exception as error:
        raise undecodable("Its row", error) from error


def undecodable(what: str, error: Exception) -> UndecodableJobError:
    return UndecodableJobError(f"{what} cannot be decoded: {describe(error)}")


@contextmanager
def span_of(attempt: Attempt, app: App, traced: bool) -> Iterator[None]:
    """Opens the span of an attempt around the block. If the block raises an error that is a failure, the span is marked as failed."""
    if not traced:
        yield
        return
    of = Attempted(
        attempt.id, attempt.task, attempt.queue, attempt.attempt, attempt.max_attempts, attempt.worker_id,
        None if attempt.rare is None else attempt.rare.workflow_id, attempt.trace_context, __version__, server_of(app.dsn),
    )  # fmt: skip
    with process_span(of) as span:
        if span is not None:
            attempt.span = stored_attempt(span, attempt.id)
        try:
            yield
        except BaseException as error:
            cause = attempt.cause_of(error)
            if span is not None and not is_suspension(error) and not issubclass(type(cause), NO_FAILURES):
                mark_failed(span, cause, attempt.mask)
            raise


def _call_within(
    spec: TaskSpec, attempt: Attempt, app: App, arguments: JsonObject, own: OwnContext
) -> object:
    """Calls a handler within the app's middleware, on this thread."""
    call = _call_of(spec, attempt, app, arguments)
    with around(app.layers, call, own):
        with _raising_causes(attempt):
            value = own.call(spec.function, **call.arguments)
        call.result = own.call(value_of, value)
    return call.result


async def _call_within_async(
    spec: TaskSpec, attempt: Attempt, app: App, arguments: JsonObject, limit: TimeLimit
) -> object:
    """Calls an async handler within the app's middleware, on this loop."""
    call = _call_of(spec, attempt, app, arguments)
    async with around_async(app.layers, call):
        with _raising_causes(attempt, limit):
            value = await spec.function(**call.arguments)
        call.result = value_of(value)
    return call.result


def _call_of(spec: TaskSpec, attempt: Attempt, app: App, arguments: JsonObject) -> Call:
    job = arguments[spec.job_parameter] if spec.job_parameter is not None else job_of(attempt, app)
    return Call(job, arguments, headers=headers_of(attempt.trace_context))


@contextmanager
def _raising_causes(attempt: Attempt, limit: TimeLimit | None = None) -> Iterator[None]:
    """If the handler was stopped, raises the reason (a timeout, for instance) instead of the error with which the handler ended.

    So middleware gets the reason.
    """
    try:
        yield
    except BaseException as error:
        if limit is not None:
            limit.note()
        cause = attempt.cause_of(error)
        if cause is error:
            raise
        raise cause from None
