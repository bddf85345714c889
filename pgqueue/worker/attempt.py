"""One attempt of one job: the claimed row, and what it lends to its handler. How it is performed: calls.py; how it ends: endings.py."""

from __future__ import annotations

import json
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

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.outage import is_lost
from pgqueue.database.run import run, run_and_commit, run_and_commit_async, run_async
from pgqueue.errors import AttemptError, DeadlineExceededError, JobTimeoutError, LeaseLostError
from pgqueue.model.hooks import hook_name
from pgqueue.model.job import Job
from pgqueue.model.outcome import Cancel, Outcome
from pgqueue.model.progress import Progress
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.worker.rare_fields import RareFields

TICK = 0.01  # seconds by which a clock may ring early


class Attempt:
    """A claimed job with its lease, undecoded. Made from a row of ``claim.sql``, in its order."""

    __slots__ = (
        "args",
        "attempt",
        "cancelled",
        "claimed_at",
        "concurrency_key",
        "crash_count",
        "created_at",
        "id",
        "lease_id",
        "lost",
        "max_attempts",
        "may_hold_seats",
        "priority",
        "progress",
        "queue",
        "rare",
        "released",
        "run_at",
        "settled",
        "started_at",
        "task",
        "timed_out",
        "timeout",
        "trace_context",
        "unconfirmed",
        "worker_id",
    )  # fmt: skip

    def __init__(self, worker_id: int, row: Any, *, may_hold_seats: bool = True) -> None:
        (
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context, extra,
            self.concurrency_key,
        ) = row  # fmt: skip
        self.rare = None if extra is None else RareFields.of(extra)
        self.worker_id = worker_id
        self.may_hold_seats = may_hold_seats  # it may hold seats of limits, which others wait for
        self.claimed_at = monotonic()
        self.started_at = 0.0
        self.cancelled = False  # the job was asked to end
        self.lost = False  # the lease is gone: nothing may be written
        self.released = False  # the worker stops: the job goes back
        self.timed_out = False
        self.settled = False  # completed by its handler's own transaction
        self.unconfirmed = False  # perhaps so: the answer to that COMMIT was lost
        self.progress: Progress | None = (
            None  # what its handler said last of its progress, until that is written
        )

    def __repr__(self) -> str:
        return f"job {self.id} ({self.task})"

    def row(self) -> list[Any]:
        """The claimed row again, for a child process."""
        return [
            self.id, self.lease_id, self.queue, self.priority, self.task, self.args, self.attempt, self.max_attempts,
            self.crash_count, self.timeout, self.run_at, self.created_at, self.trace_context,
            None if self.rare is None else self.rare.text(), self.concurrency_key,
        ]  # fmt: skip

    def job(self, app: App) -> Job:
        """The typed job for a handler that asks for it."""
        return Job(
            id=self.id, queue=self.queue, task=self.task, args=json.loads(self.args), state="running",
            priority=self.priority, run_at=datetime.fromtimestamp(self.run_at, UTC), attempt=self.attempt,
            max_attempts=self.max_attempts, lease_id=self.lease_id, worker_id=self.worker_id,
            created_at=datetime.fromtimestamp(self.created_at, UTC), crash_count=self.crash_count,
            timeout=self.timeout, concurrency_key=self.concurrency_key, lease=HeldLease(self, app),
            **({} if self.rare is None else self.rare.facts()),
        )  # fmt: skip

    def until_deadline(self) -> float | None:
        """Seconds until its deadline, if it has one; less than 0 once that has passed."""
        if self.rare is None or self.rare.deadline is None:
            return None
        return self.rare.deadline - monotonic()

    def seconds_left(self) -> float | None:
        """Seconds for which it may run from now on, by its timeout and its deadline."""
        left = self.until_deadline()
        return self.timeout if left is None else max(min(left, self.timeout or left), 0.0)

    def note_progress(self, progress: Progress) -> None:
        self.progress = progress

    def with_progress(self, outcome: Outcome) -> Outcome:
        """The outcome, with what the handler said last if that is not written yet."""
        return outcome if self.progress is None else replace(outcome, progress=self.progress.as_json())

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

    def progress(self, progress: Progress) -> None:
        self._attempt.note_progress(progress)

    def transaction(self, result: object) -> AbstractContextManager[Connection[Any]]:
        return self._transaction(result)

    def atransaction(self, result: object) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        return self._atransaction(result)

    @contextmanager
    def _transaction(self, result: object) -> Iterator[Connection[Any]]:
        self.check()
        with self._committing(), self._app.connection() as connection:
            yield connection
            if self._attempt.may_hold_seats:
                self._fenced(run(connection, self._hold()))
                self._attempt.unconfirmed = True
                run_and_commit(connection, self._settle(result))
            else:
                settle = self._settle(result)
                if settle.name != "complete":  # which needs no search path
                    run(connection, statements.pin())
                self._fenced(run(connection, settle))
                self._attempt.unconfirmed = True

    @asynccontextmanager
    async def _atransaction(self, result: object) -> AsyncIterator[AsyncConnection[Any]]:
        self.check()
        with self._committing():
            async with self._app.aconnection() as connection:
                yield connection
                if self._attempt.may_hold_seats:
                    self._fenced(await run_async(connection, self._hold()))
                    self._attempt.unconfirmed = True
                    await run_and_commit_async(connection, self._settle(result))
                else:
                    settle = self._settle(result)
                    if settle.name != "complete":
                        await run_async(connection, statements.pin())
                    self._fenced(await run_async(connection, settle))
                    self._attempt.unconfirmed = True

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Only a lost server leaves it open whether the COMMIT was made: then the settler asks (settler.py)."""
        try:
            yield
        except BaseException as error:
            self._attempt.unconfirmed &= not isinstance(error, psycopg.Error) or is_lost(error)
            raise
        self._attempt.unconfirmed, self._attempt.settled = False, True

    def _hold(self) -> Statement[list[int]]:
        return statements.hold(self._attempt.worker_id, self._attempt.id, self._attempt.lease_id)

    def _settle(self, result: object) -> Statement[list[int]]:
        attempt = self._attempt
        spec = self._app.tasks[attempt.task].spec
        outcome = attempt.with_progress(Outcome.completed(spec.encode_result(result), spec.keep))
        has_hooks = "completed" in self._app.events_of(attempt.task)
        if outcome.result is None and outcome.progress is None and not has_hooks:
            return statements.complete(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome.kept)])
        hooks = [hook_name(attempt.task, "completed")] if has_hooks else []
        return statements.settle(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)], hooks)

    def _fenced(self, ours: list[int]) -> None:
        if self._attempt.id not in ours:
            self._attempt.lost = True
            raise LeaseLostError(self._attempt.id, self._attempt.lease_id)


def timeout_error(attempt: Attempt) -> AttemptError:
    left = attempt.until_deadline()
    if attempt.timeout is None or (left is not None and left < TICK):
        return DeadlineExceededError("Its deadline passed while it ran.")
    return JobTimeoutError(
        f"It ran longer than its timeout of {attempt.timeout:g} s.",
        do="give its task a longer timeout=, or make its work shorter",
    )
