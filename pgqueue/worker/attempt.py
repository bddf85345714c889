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
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import statements
from pgqueue.app import App
from pgqueue.database import run, run_and_commit, run_and_commit_async, run_async
from pgqueue.errors import (
    AttemptError,
    DeadlineExceededError,
    InvalidArgumentsError,
    JobTimeoutError,
    LeaseLostError,
    UndecodableJobError,
)
from pgqueue.job import Job
from pgqueue.outcome import COMPLETED, FORGOTTEN, Cancel, Outcome, RateLimited, Retry, Snooze, decide
from pgqueue.progress import Report
from pgqueue.sql import Statement
from pgqueue.task import TaskSpec
from pgqueue.telemetry import mark_failed, run_span
from pgqueue.worker.extra import Extra

TICK = 0.01  # seconds by which a clock may ring early


class Attempt:
    """A claimed job with its lease, undecoded. Made from a row of ``claim.sql``, in its order."""

    __slots__ = (
        "args", "attempt", "cancelled", "claimed_at", "crash_count", "created_at", "extra", "id", "lease_id", "lost",
        "max_attempts", "priority", "queue", "released", "report", "run_at", "seated", "settled", "started_at", "task",
        "timed_out", "timeout", "trace_context", "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: int, row: Any, *, seated: bool = True) -> None:
        (
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context, extra,
        ) = row  # fmt: skip
        self.extra = None if extra is None else Extra.of(extra)
        self.worker_id = worker_id
        self.seated = seated  # it may hold seats of limits, which others wait for
        self.claimed_at = time.monotonic()
        self.started_at = 0.0
        self.cancelled = False  # somebody asked for the job's end
        self.lost = False  # the lease is gone: nothing may be written any more
        self.released = False  # the worker stops: the job goes back
        self.timed_out = False
        self.settled = False  # completed by its handler's own transaction
        self.report: Report | None = None  # what its handler said last of its progress, until that is written

    def __repr__(self) -> str:
        return f"job {self.id} ({self.task})"

    def row(self) -> list[Any]:
        """The claimed row again, for a child process."""
        return [
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context,
            None if self.extra is None else self.extra.text(),
        ]  # fmt: skip

    def job(self, app: App) -> Job:
        """The typed job for a handler that asks for it."""
        return Job(
            id=self.id, queue=self.queue, task=self.task, args=json.loads(self.args), state="running",
            priority=self.priority, run_at=datetime.fromtimestamp(self.run_at, UTC), attempt=self.attempt,
            max_attempts=self.max_attempts, lease_id=self.lease_id, worker_id=self.worker_id,
            created_at=datetime.fromtimestamp(self.created_at, UTC), crash_count=self.crash_count,
            timeout=self.timeout, lease=HeldLease(self, app),
            progressed=None if self.extra is None else self.extra.progressed(),
        )  # fmt: skip

    def left(self) -> float | None:
        """Seconds until its deadline, if it has one; less than 0 once that has passed."""
        if self.extra is None or self.extra.deadline is None:
            return None
        return self.extra.deadline - time.monotonic()

    def limit(self) -> float | None:
        """Seconds for which it may run from now on, by its timeout and its deadline."""
        left = self.left()
        return self.timeout if left is None else max(min(left, self.timeout or left), 0.0)

    def note(self, report: Report) -> None:
        self.report = report

    def reported(self, outcome: Outcome) -> Outcome:
        """The outcome, with what the handler said last if that is not written yet."""
        return outcome if self.report is None else replace(outcome, progress=self.report.as_json())

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

    def progress(self, report: Report) -> None:
        self._attempt.note(report)

    def transaction(self, result: object) -> AbstractContextManager[Connection[Any]]:
        return self._transaction(result)

    def transaction_async(self, result: object) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        return self._transaction_async(result)

    @contextmanager
    def _transaction(self, result: object) -> Iterator[Connection[Any]]:
        self.check()
        with self._app.connection() as connection:
            yield connection
            if self._attempt.seated:
                self._fenced(run(connection, self._hold()))
                run_and_commit(connection, self._settle(result))
            else:
                self._fenced(run(connection, self._settle(result)))
        self._attempt.settled = True

    @asynccontextmanager
    async def _transaction_async(self, result: object) -> AsyncIterator[AsyncConnection[Any]]:
        self.check()
        async with self._app.connection_async() as connection:
            yield connection
            if self._attempt.seated:
                self._fenced(await run_async(connection, self._hold()))
                await run_and_commit_async(connection, self._settle(result))
            else:
                self._fenced(await run_async(connection, self._settle(result)))
        self._attempt.settled = True

    def _hold(self) -> Statement[list[int]]:
        return statements.hold(self._attempt.worker_id, self._attempt.id, self._attempt.lease_id)

    def _settle(self, result: object) -> Statement[list[int]]:
        attempt = self._attempt
        spec = self._app.tasks[attempt.task].spec
        outcome = attempt.reported(Outcome.completed(spec.encode_result(result), spec.keep))
        if outcome.result is None and outcome.progress is None:
            return statements.complete(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome.kept)])
        return statements.settle(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)])

    def _fenced(self, ours: list[int]) -> None:
        if self._attempt.id not in ours:
            self._attempt.lost = True
            raise LeaseLostError(self._attempt.id, self._attempt.lease_id)


def timeout_error(attempt: Attempt) -> AttemptError:
    left = attempt.left()
    if attempt.timeout is None or (left is not None and left < TICK):
        return DeadlineExceededError("Its deadline passed while it ran.")
    return JobTimeoutError(f"It ran longer than its timeout of {attempt.timeout:g} s.")


def missed(spec: TaskSpec, attempt: Attempt) -> Outcome | None:
    """The outcome of an attempt that has waited too long for its turn; None if it may begin."""
    left = attempt.left()
    if left is not None and left <= 0:
        return failed(spec, attempt, DeadlineExceededError("Its deadline passed before it could begin."))
    if attempt.extra is None or attempt.extra.expires is None or attempt.extra.expires > time.monotonic():
        return None
    return Outcome.expired(spec.keep)


def arguments(spec: TaskSpec, attempt: Attempt, app: App) -> dict[str, Any]:
    """The handler's keyword arguments; raises what makes the job dead at once."""
    try:
        kwargs = spec.decode(attempt.args)
    except InvalidArgumentsError:
        raise
    except Exception as error:
        raise UndecodableJobError(
            f"Its arguments cannot be decoded: {type(error).__name__}: {error}"
        ) from error
    if spec.job_parameter is not None:
        kwargs[spec.job_parameter] = attempt.job(app)
    return kwargs


def succeeded(spec: TaskSpec, attempt: Attempt, value: object) -> Outcome | None:
    """The outcome of a handler that returned; None if it has completed the job in its own transaction."""
    if attempt.settled:
        return None
    if value is None:
        return COMPLETED if spec.keep == "all" else FORGOTTEN
    if isinstance(value, Snooze | RateLimited | Cancel | Retry):
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
        left=attempt.left(),
    )


def perform(
    spec: TaskSpec, attempt: Attempt, app: App, runner: asyncio.Runner, *, traced: bool
) -> Outcome | None:
    """Runs a handler on this thread, an async one on ``runner``'s loop; returns what is to be settled."""
    try:
        kwargs = arguments(spec, attempt, app)
        attempt.started_at = time.monotonic()
        with _span(spec, attempt, traced) as span:
            try:
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
        if attempt.timeout is None and attempt.extra is None and not traced:
            return succeeded(spec, attempt, await spec.function(**kwargs))
        with _span(spec, attempt, traced) as span:
            try:
                async with asyncio.timeout(attempt.limit()) as timer:
                    value = await spec.function(**kwargs)
                return succeeded(spec, attempt, value)
            except BaseException as error:
                attempt.timed_out = timer.expired()
                if span is not None:
                    mark_failed(span, error)
                raise
    except BaseException as error:  # noqa: BLE001
        return failed(spec, attempt, error)


@contextmanager
def _span(spec: TaskSpec, attempt: Attempt, traced: bool) -> Iterator[Any]:
    if not traced:
        yield None
        return
    with run_span(spec.name, attempt.id, attempt.queue, attempt.attempt, attempt.trace_context) as span:
        yield span
