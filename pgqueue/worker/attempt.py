"""One attempt of one job: the claimed row, what it lends to its handler, and how it is performed.

``perform`` and ``perform_async`` are the only places that call a handler. Nothing a handler raises leaves them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import statements
from pgqueue.app import App
from pgqueue.config import ServedQueues
from pgqueue.database import run, run_async
from pgqueue.errors import InvalidArgumentsError, JobTimeoutError, LeaseLostError, UndecodableJobError
from pgqueue.events import Call, hook_name
from pgqueue.job import Job
from pgqueue.outcome import INSTRUCTIONS, Cancel, Outcome, decide
from pgqueue.task import TaskSpec
from pgqueue.telemetry import mark_failed, run_span
from pgqueue.worker.middleware import around, around_async, obeyed


class Attempt:
    """A claimed job with its lease, undecoded. Made from a row of ``claim.sql``, in its order."""

    __slots__ = (
        "age", "args", "attempt", "cancelled", "claimed_at", "crash_count", "created_at", "id", "lease_id", "lost",
        "max_attempts", "priority", "queue", "released", "run_at", "settled", "started_at", "task", "timed_out",
        "timeout", "trace_context", "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: int, row: Any) -> None:
        (
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context,
        ) = row  # fmt: skip
        self.worker_id = worker_id
        self.claimed_at = time.monotonic()
        self.started_at = 0.0
        self.cancelled = False  # somebody asked for the job's end
        self.lost = False  # the lease is gone: nothing may be written any more
        self.released = False  # the worker stops: the job goes back
        self.timed_out = False
        self.settled = False  # completed by its handler's own transaction

    def __repr__(self) -> str:
        return f"job {self.id} ({self.task})"

    def row(self) -> list[Any]:
        """The claimed row again, for a child process."""
        return [
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context,
        ]  # fmt: skip

    def job(self, app: App) -> Job:
        """The typed job for a handler that asks for it."""
        return Job(
            id=self.id, queue=self.queue, task=self.task, args=json.loads(self.args), state="running",
            priority=self.priority, run_at=datetime.fromtimestamp(self.run_at, UTC), attempt=self.attempt,
            max_attempts=self.max_attempts, lease_id=self.lease_id, worker_id=self.worker_id,
            created_at=datetime.fromtimestamp(self.created_at, UTC), crash_count=self.crash_count,
            timeout=self.timeout, lease=HeldLease(self, app),
        )  # fmt: skip

    def check(self) -> None:
        """Raises what a handler must learn: the lease is lost, its end is asked for, or its time is up."""
        if self.lost:
            raise LeaseLostError(self.id, self.lease_id)
        if self.timed_out:
            raise timeout_error(self)
        if self.cancelled:
            raise Cancel("cancelled on request")


class HeldLease:
    """What an attempt lends to its ``Job``."""

    def __init__(self, attempt: Attempt, app: App) -> None:
        self._attempt, self._app = attempt, app

    def check(self) -> None:
        self._attempt.check()

    def transaction(self, result: object) -> AbstractContextManager[Connection[Any]]:
        return self._transaction(result)

    def transaction_async(self, result: object) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        return self._transaction_async(result)

    @contextmanager
    def _transaction(self, result: object) -> Iterator[Connection[Any]]:
        self.check()
        with self._app.connection() as connection:
            yield connection
            self._fenced(run(connection, self._settle(result)))
        self._attempt.settled = True

    @asynccontextmanager
    async def _transaction_async(self, result: object) -> AsyncIterator[AsyncConnection[Any]]:
        self.check()
        async with self._app.connection_async() as connection:
            yield connection
            self._fenced(await run_async(connection, self._settle(result)))
        self._attempt.settled = True

    def _settle(self, result: object) -> Any:
        attempt = self._attempt
        spec = self._app.tasks[attempt.task].spec
        outcome = Outcome.completed(spec.encode_result(result), spec.keep)
        tells = "completed" in self._app.events_of(attempt.task)
        if outcome.result is None and not tells:
            return statements.complete(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome.kept)])
        hooks = [hook_name(attempt.task, "completed")] if tells else []
        return statements.settle(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)], hooks)

    def _fenced(self, ours: list[int]) -> None:
        if self._attempt.id not in ours:
            self._attempt.lost = True
            raise LeaseLostError(self._attempt.id, self._attempt.lease_id)


def timeout_error(attempt: Attempt) -> JobTimeoutError:
    return JobTimeoutError(f"It ran longer than its timeout of {attempt.timeout:g} s.")


def decoded(spec: TaskSpec, attempt: Attempt) -> Any:
    """The arguments; raises what makes the job dead at once."""
    try:
        return spec.decode(attempt.args)
    except InvalidArgumentsError:
        raise
    except Exception as error:
        raise UndecodableJobError(
            f"Its arguments cannot be decoded: {type(error).__name__}: {error}"
        ) from error


def arguments(spec: TaskSpec, attempt: Attempt, app: App) -> dict[str, Any]:
    """The handler's keyword arguments."""
    kwargs: dict[str, Any] = decoded(spec, attempt)
    if spec.job_parameter is not None:
        kwargs[spec.job_parameter] = attempt.job(app)
    return kwargs


def succeeded(spec: TaskSpec, attempt: Attempt, value: object) -> Outcome | None:
    """The outcome of a handler that returned; None if it has completed the job in its own transaction."""
    if attempt.settled:
        return None
    if value is None:
        return spec.completion
    if isinstance(value, INSTRUCTIONS):
        raise value
    return Outcome.completed(spec.encode_result(value), spec.keep)


def failed(
    spec: TaskSpec, attempt: Attempt, error: BaseException, *, crashed: bool = False, crash_limit: int = 3
) -> Outcome | None:
    """The outcome of an attempt that ended in ``error``; None if there is nothing left to settle."""
    if attempt.settled or attempt.lost:
        return None
    if attempt.timed_out:
        error = timeout_error(attempt).with_traceback(error.__traceback__)
    elif attempt.cancelled and isinstance(error, asyncio.CancelledError):
        error = Cancel("cancelled on request")
    elif attempt.released:
        return Outcome.released()
    match error:
        case InvalidArgumentsError() if error.__traceback__ is not None and not attempt.started_at:
            return Outcome.dead("bad_arguments", error, spec.keep)
        case UndecodableJobError():
            return Outcome.dead("undecodable", error, spec.keep)
    return decide(
        error,
        spec.retry,
        attempt=attempt.attempt,
        max_attempts=attempt.max_attempts,
        age=max(time.time() - attempt.created_at, 0.0),
        keep=spec.keep,
        crash_count=attempt.crash_count,
        crash_limit=crash_limit,
        crashed=crashed,
    )


def perform(
    spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, *, traced: bool
) -> Outcome | None:
    """Runs a handler on this thread, an async one on ``runner``'s loop; returns what is to be settled."""
    try:
        kwargs = arguments(spec, attempt, app)
        attempt.started_at = time.monotonic()
        with span_of(spec, attempt, traced) as span:
            try:
                if app.layers and not spec.is_ours:
                    value = _call_within(spec, attempt, app, kwargs, runner)
                else:
                    value = runner.run(spec.function(**kwargs)) if spec.is_async else spec.function(**kwargs)
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
        attempt.started_at = time.monotonic()
        if attempt.timeout is None and not traced and not app.layers:
            return succeeded(spec, attempt, await spec.function(**kwargs))
        with span_of(spec, attempt, traced) as span:
            try:
                async with asyncio.timeout(attempt.timeout) as deadline:
                    if app.layers and not spec.is_ours:
                        value = await _call_within_async(spec, attempt, app, kwargs)
                    else:
                        value = await spec.function(**kwargs)
                return succeeded(spec, attempt, value)
            except BaseException as error:
                attempt.timed_out = deadline.expired()
                if span is not None:
                    mark_failed(span, error)
                raise
    except BaseException as error:  # noqa: BLE001
        return failed(spec, attempt, error)


def _call_within(
    spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any], runner: asyncio.Runner
) -> object:
    """Calls a handler on this thread within the app's middleware."""
    call = call_of(spec, attempt, app, kwargs)
    with around(app.layers, call, runner):
        given = call.arguments
        call.result = obeyed(runner.run(spec.function(**given)) if spec.is_async else spec.function(**given))
    return call.result


async def _call_within_async(spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any]) -> object:
    """The same of an async handler, on this loop."""
    call = call_of(spec, attempt, app, kwargs)
    async with around_async(app.layers, call):
        call.result = obeyed(await spec.function(**call.arguments))
    return call.result


def call_of(spec: TaskSpec, attempt: Attempt, app: App, kwargs: dict[str, Any]) -> Call:
    job = kwargs[spec.job_parameter] if spec.job_parameter is not None else attempt.job(app)
    return Call(job, kwargs)


@contextmanager
def span_of(spec: TaskSpec, attempt: Attempt, traced: bool) -> Iterator[Any]:
    if not traced:
        yield None
        return
    with run_span(spec.name, attempt.id, attempt.queue, attempt.attempt, attempt.trace_context) as span:
        yield span


class InFlight:
    """The claimed and not yet settled attempts of a worker, by job id, and how many more it may take.

    ``queues``: names and patterns, each with slots of its own or None.
    """

    def __init__(self, slots: int, queues: dict[str, int | None]) -> None:
        self.slots = slots
        self.limits = queues
        self.attempts: dict[int, Attempt] = {}
        self._served = ServedQueues(queues)
        self._taken = dict.fromkeys((key for key, limit in queues.items() if limit is not None), 0)

    def __len__(self) -> int:
        return len(self.attempts)

    def add(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            former = self.attempts.get(attempt.id)
            if former is not None:  # a crash of the server undid the claim that it came from
                former.lost = True
                self.remove([former])
            self.attempts[attempt.id] = attempt
            if self._taken:
                self._count(attempt.queue, 1)

    def remove(self, attempts: list[Attempt]) -> None:
        """Frees their slots: only after their settle committed."""
        for attempt in attempts:
            if self.attempts.get(attempt.id) is attempt:
                del self.attempts[attempt.id]
                if self._taken:
                    self._count(attempt.queue, -1)

    def _count(self, queue: str, change: int) -> None:
        key = self._served.key(queue)
        if key in self._taken:
            self._taken[key] += change

    def room(self, prefetch: int) -> int:
        return max(self.slots + prefetch - len(self.attempts), 0)

    def queue_room(self, queue: str) -> int | None:
        """Free slots of the name or pattern that serves a queue, if it has slots of its own; else None."""
        key = self._served.key(queue)
        limit = None if key is None else self.limits[key]
        return None if key is None or limit is None else max(limit - self._taken[key], 0)
