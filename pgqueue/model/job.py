"""``Job``: a stored job, and what a handler can do with its own job."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from pgqueue.model.job_steps import StepMethods
from pgqueue.model.lease import JobBatch, Lease
from pgqueue.model.progress import Progress, Track, length

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import AsyncConnectionPool, ConnectionPool
    from sqlalchemy import Connection as SQLAlchemyConnection
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncConnection as SQLAlchemyAsyncConnection
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
SessionT = TypeVar("SessionT", bound="Session")
AsyncSessionT = TypeVar("AsyncSessionT", bound="AsyncSession")
ConnectionT = TypeVar("ConnectionT", bound="Connection[Any]")
AsyncConnectionT = TypeVar("AsyncConnectionT", bound="AsyncConnection[Any]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = Literal["pending", "running", "retrying", "waiting", "completed", "cancelled", "dead"]
STATES: tuple[State, ...] = ("pending", "running", "retrying", "waiting", "completed", "cancelled", "dead")
FAILED: tuple[State, ...] = ("retrying", "dead")  # what `failed` means
STATE_WORDS: tuple[str, ...] = (*STATES, "failed")
# The words by which people from other systems call a state.
MEANT: Mapping[str, str] = {
    "done": "completed", "finished": "completed", "succeeded": "completed", "success": "completed", "active": "running",
    "queued": "pending", "scheduled": "pending", "delayed": "pending", "available": "pending", "discarded": "dead", "error": "dead",
    "failure": "failed",
}  # fmt: skip
FINAL: frozenset[str] = frozenset({"completed", "cancelled", "dead"})


def states_of(word: str) -> tuple[State, ...]:
    """Returns the states that a word of STATE_WORDS means. Empty: it is none of them."""
    return FAILED if word == "failed" else tuple(state for state in STATES if state == word)


class AsyncpgPool(Protocol):
    """The methods by which type checkers recognise asyncpg's pool. pgqueue does not import asyncpg, so it cannot name the real class."""

    def acquire(self, *, timeout: float | None = None) -> Any: ...
    def get_idle_size(self) -> int: ...


class DjangoConnection(Protocol):
    """The attributes by which type checkers recognise Django's ``connection``."""

    in_atomic_block: bool
    needs_rollback: bool


DjangoT = TypeVar("DjangoT", bound=DjangoConnection)


@dataclass(frozen=True, slots=True)
class Job(StepMethods):
    """A stored job, as its row was when it was read. ``timeout`` is in seconds, and times are datetimes with a time zone.

    Its repr leaves out arguments, results and errors, so that a log line contains no secret.

    ``progressed`` is the last progress that this attempt or a former attempt reported: done, total, message, at.

    ``version`` is the version of the task that stored the job's first checkpoint, as it was when the job was read; None: there was no
    checkpoint, or the task had no version.

    If a handler has a parameter that is annotated ``Job``, it gets its job there. Only such a job has the lease, which ``progress``,
    ``track`` and ``transaction`` need. Without the lease, ``check`` does nothing.
    """

    id: int
    queue: str
    task: str
    args: dict[str, object] = field(repr=False)
    state: State
    priority: int
    run_at: datetime
    attempt: int
    max_attempts: int
    lease_id: int
    created_at: datetime
    worker_id: int | None = None
    crash_count: int = 0
    unique_key: str | None = None
    concurrency_key: str | None = None
    tags: tuple[str, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    timeout: float | None = None
    progressed: Any = field(default=None, repr=False)
    result: Any = field(default=None, repr=False)
    last_error: str | None = field(default=None, repr=False)
    last_traceback: str | None = field(default=None, repr=False)
    cancel_requested: bool = False
    meta: dict[str, object] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    version: int | None = None
    lease: Lease | None = field(default=None, repr=False, compare=False)

    @property
    def uid(self) -> str:
        """An identifier that no other job ever gets, the same in all attempts. Handlers can pass it to other services as an idempotency key.

        If a failover loses commits, a later job can get the same ``id``, but it has another ``uid``.
        """
        return f"{self.id}-{(self.created_at - EPOCH) // timedelta(microseconds=1)}"

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def check(self) -> None:
        """Raises LeaseLostError if the worker has lost the lease of the job, and Cancel if someone asked for the job's end.

        A long handler on a thread should call this now and then. Otherwise, only a timeout or a deadline stops the handler.
        """
        if self.lease is not None:
            self.lease.check()

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Reports how far this attempt has come: ``job.progress(120, 400, "resizing")``.

        You can call it as often as you like. The worker writes the newest value once a second, and the last value with the outcome.
        Raises InvalidOptionError if a value is no number, or if the message is no text.
        """
        self._own_lease().progress(Progress.of(done, total, message))

    def track(
        self,
        items: Iterable[T] | AsyncIterable[T],
        total: float | None = None,
        message: str | None = None,
    ) -> Track[T]:
        """Reports how many items are done: ``for item in job.track(items)``, or ``async for``. Give ``total`` if ``items`` has no length.

        A plain ``for`` also calls ``check`` before each item, so that a handler on a thread can be stopped.
        """
        known = length(items) if total is None else total
        return Track(items, lambda done: self.progress(done, known, message), self.check)

    @overload
    def transaction(self, result: object = None) -> AbstractContextManager[Connection]: ...
    @overload
    def transaction(
        self, result: object = None, *, using: sessionmaker[SessionT]
    ) -> AbstractContextManager[SessionT]: ...
    @overload
    def transaction(
        self, result: object = None, *, using: ConnectionPool[ConnectionT]
    ) -> AbstractContextManager[ConnectionT]: ...
    @overload
    def transaction(
        self, result: object = None, *, using: Engine
    ) -> AbstractContextManager[SQLAlchemyConnection]: ...
    @overload
    def transaction(self, result: object = None, *, using: DjangoT) -> AbstractContextManager[DjangoT]: ...
    def transaction(self, result: object = None, *, using: object = None) -> AbstractContextManager[object]:
        """Gives the block a transaction whose commit completes the job: ``with job.transaction() as conn: ...``.

        Your own rows, jobs that you enqueue with ``using(conn)``, the result and the completion commit together. If the lease is lost,
        the block raises LeaseLostError, and everything is rolled back. So the effect happens exactly once.

        ``using``: the object that makes the connection. Without it, the block gets a psycopg connection of the app's pool. With a
        sessionmaker, it gets a Session; with an Engine, SQLAlchemy's Connection; with a ConnectionPool, a psycopg connection of that pool;
        with Django's ``connection``, the block is one of ``transaction.atomic`` on it. Each of these must connect to the database that has pgqueue's tables. ``result``: the result of the job, unless the block calls
        ``finish``.

        If the answer to the COMMIT is lost, the worker asks the database. If the COMMIT was made, the handler goes on. If it was not,
        the block raises the error of the lost connection. Raises CommitUnconfirmedError if the database gives no answer for 30 s.
        Raises WrongConnectionError if ``using`` is none of these objects, or if the block itself commits or rolls back.
        """
        return self._own_lease().transaction(result, using)

    @overload
    def atransaction(self, result: object = None) -> AbstractAsyncContextManager[AsyncConnection]: ...
    @overload
    def atransaction(
        self, result: object = None, *, using: async_sessionmaker[AsyncSessionT]
    ) -> AbstractAsyncContextManager[AsyncSessionT]: ...
    @overload
    def atransaction(
        self, result: object = None, *, using: AsyncConnectionPool[AsyncConnectionT]
    ) -> AbstractAsyncContextManager[AsyncConnectionT]: ...
    @overload
    def atransaction(
        self, result: object = None, *, using: AsyncEngine
    ) -> AbstractAsyncContextManager[SQLAlchemyAsyncConnection]: ...
    @overload
    def atransaction(
        self, result: object = None, *, using: AsyncpgPool
    ) -> AbstractAsyncContextManager[Any]: ...
    def atransaction(
        self, result: object = None, *, using: object = None
    ) -> AbstractAsyncContextManager[object]:
        """``transaction`` for ``async def`` handlers: ``async with job.atransaction() as conn: ...``.

        ``using``: an async_sessionmaker, an AsyncEngine, an AsyncConnectionPool of psycopg, or a pool of asyncpg.
        """
        return self._own_lease().atransaction(result, using)

    def finish(self, result: object) -> None:
        """Sets the result of the job in a block of ``transaction`` or ``atransaction``, for a result that only the block computes.

        Raises RuntimeError outside such a block. Outside a block, return the result from the handler instead.
        """
        self._own_lease().finish(result)

    @property
    def batch(self) -> JobBatch:
        """The batch to which the job belongs, as a member or as a job that follows: a ``BatchHandle``.

        ``job.batch.add(jobs)`` adds jobs to the batch, also after it was sealed. The jobs are committed at once; with ``using=conn``, they
        are committed with the transaction of ``conn``, such as that of ``job.transaction()``. Raises InvalidOptionError if the job belongs
        to no batch and to no workflow. If it is a node of a workflow, the methods of the handle raise BatchNotFoundError.
        """
        return self._own_lease().batch()

    def _own_lease(self) -> Lease:
        if self.lease is None:
            msg = f"job {self.id} was read, not claimed: only the job handed to its handler has a lease"
            raise RuntimeError(msg)
        return self.lease
