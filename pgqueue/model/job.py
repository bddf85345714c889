"""``Job``: a stored job, and what a handler can do with its own job."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from pgqueue.model.lease import Async, Lease
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.progress import Progress, Track, length
from pgqueue.model.steps import StepCall, StepName
from pgqueue.model.suspension import Signal, Wait
from pgqueue.model.units import seconds

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
FINAL: frozenset[str] = frozenset({"completed", "cancelled", "dead"})


class AsyncpgPool(Protocol):
    """The methods by which type checkers recognise asyncpg's pool. pgqueue does not import asyncpg, so it cannot name the real class."""

    def acquire(self, *, timeout: float | None = None) -> Any: ...
    def get_idle_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Job:
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

    def step(self, name: StepName, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls ``function(*args, **kwargs)``, stores the value that it returns, and returns that value.

        If an earlier attempt has stored a value under this name, returns the stored value instead, and does not call the function.

        ``name``: a text of at most 255 bytes, or a name and a key, as in ``job.step(("page", n), fetch, n)``. Two steps of one attempt must
        not have the same name and key. The value is written as JSON, and read back as the type with which the function's return value is
        annotated. This is done in every attempt, also the first. A value can have at most 256 KiB, and a job at most 10,000 steps. If the
        function raises an error, nothing is stored. If an attempt fails after it has stored a new step, the attempts of the job are counted
        from 1 again.

        Raises CheckpointMismatchError, DuplicateStepError, StepTooLargeError or StepRefusedError, each of which makes the job dead. Raises
        LeaseLostError if the lease is lost, and Cancel if someone asked the job to stop. DBOS and absurd also store steps as rows beside
        the job.
        """
        value: T = self._own_lease().step(name, StepCall(function, args, kwargs))
        return value

    @overload
    def astep(
        self, name: StepName, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Async[T]: ...
    @overload
    def astep(
        self, name: StepName, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Async[T]: ...

    def astep(
        self, name: StepName, function: Callable[..., Any], /, *args: object, **kwargs: object
    ) -> Async[Any]:
        """``step`` for ``async def`` handlers: ``await job.astep("charge", charge, order_id)``. ``function`` can be sync or async."""
        return self._own_lease().astep(name, StepCall(function, args, kwargs))

    def step_transaction(
        self,
        name: StepName,
        function: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Does a step that writes rows of this database: ``function(conn, *args)`` writes them, and they are committed with the checkpoint.

        ``conn`` is a psycopg connection of the app's pool, in a transaction that pgqueue commits. If the attempt has lost its lease, or
        another attempt has done the step, nothing is committed. So the rows are written exactly once.
        Raises the same errors as ``step``. If the connection breaks during the COMMIT, raises the error of the connection. In this case,
        the next attempt finds out whether the step was committed.
        """
        value: T = self._own_lease().step_transaction(name, StepCall(function, args, kwargs))
        return value

    def astep_transaction(
        self,
        name: StepName,
        function: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Async[T]:
        """``step_transaction`` for ``async def`` handlers, with an AsyncConnection of psycopg."""
        return self._own_lease().astep_transaction(name, StepCall(function, args, kwargs))

    def sleep(self, name: StepName, delay: float | str | timedelta) -> None:
        """Suspends the job for ``delay``: ``job.sleep("cool-down", "1h")``. Meanwhile it occupies no slot, and the attempt does not count.

        ``delay``: seconds, a timedelta or a text such as ``30s``, ``2d``, at most a year. It counts from the first time that the job
        comes here. When it is over, the handler runs again from its beginning, and this call returns.

        ``name``: as in ``step``. The call raises ``Suspended``, which is no error: let it pass through the handler. It first waits until
        the steps that the handler does at the same time have ended. Raises StepRefusedError in the handler of a chunk, in a hook, in a
        block of ``transaction`` and in the function of a step. If the deadline of the job comes first, the job is dead at once.
        """
        self._own_lease().sleep(name, seconds(delay, "The delay of sleep()", past=False))

    def asleep(self, name: StepName, delay: float | str | timedelta) -> Async[None]:
        """``sleep`` for ``async def`` handlers: ``await job.asleep("cool-down", "1h")``."""
        return self._own_lease().asleep(name, seconds(delay, "The delay of asleep()", past=False))

    @overload
    def wait_for(
        self, *names: str, timeout: float | str | timedelta | None = None, key: str | int | None = None
    ) -> Signal: ...
    @overload
    def wait_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: D,
        key: str | int | None = None,
    ) -> Signal | D: ...

    def wait_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: object = ...,
        key: str | int | None = None,
    ) -> Any:
        """Suspends the job until one of these signals was sent to it: ``said = job.wait_for("approved", "refused", timeout="7d")``.

        Returns the oldest ``Signal`` of these names that no other wait of the job has taken, also if it was sent before this call. After
        ``timeout`` (seconds, a timedelta or a text such as ``7d``, at most a year), returns ``default``, or raises SignalTimeoutError if
        there is no default. The time-out counts from the first time that the job comes here. Meanwhile the job occupies no slot.

        ``key`` tells waits of a job apart whose first name is the same. The end of a wait is stored, so a later attempt gets the same
        signal again. Suspends the job as ``sleep`` does, and is refused where ``sleep`` is refused.
        """
        return self._own_lease().wait_for(Wait.of(names, timeout, default, key))

    @overload
    def await_for(
        self, *names: str, timeout: float | str | timedelta | None = None, key: str | int | None = None
    ) -> Async[Signal]: ...
    @overload
    def await_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: D,
        key: str | int | None = None,
    ) -> Async[Signal | D]: ...

    def await_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: object = ...,
        key: str | int | None = None,
    ) -> Async[Any]:
        """``wait_for`` for ``async def`` handlers: ``said = await job.await_for("approved")``. The name follows the rule of all twins."""
        return self._own_lease().await_for(Wait.of(names, timeout, default, key))

    @property
    def saved(self) -> Any:
        """Returns the place that ``save`` stored last, in this attempt or a former attempt, as plain JSON. None: ``save`` stored no place.

        On an event loop, write ``await job.asaved()``.
        """
        return self._own_lease().saved()

    def asaved(self) -> Async[Any]:
        """``saved`` for ``async def`` handlers."""
        return self._own_lease().asaved()

    def save(self, value: object, *, using: object = None) -> None:
        """Stores the place that the handler has come to, and replaces the last stored place: ``job.save(page.last, using=conn)``.

        ``using``: any connection or session that ``task.using()`` takes. The place is committed together with the caller's rows. If the
        attempt has lost its lease, this COMMIT fails with SQLSTATE PQ601. Without ``using``, the place is committed alone. StepCall ``save``
        just before your commit, because after this call the server ends the session if its transaction stays idle for 10 s.

        ``value``: plain JSON, at most 256 KiB. Raises StepTooLargeError, StepRefusedError or LeaseLostError.
        """
        self._own_lease().save(value, using)

    def asave(self, value: object, *, using: object = None) -> Async[None]:
        """``save`` for ``async def`` handlers. ``using`` is an async connection or session."""
        return self._own_lease().asave(value, using)

    def results(self) -> Iterator[NodeEnd]:
        """Yields how each job ended for which this job has waited, if it is a node of a workflow. Otherwise yields nothing.

        Each has ``name``, ``state``, ``result`` and ``error``. They come in the order in which they were added to the workflow. In place of a
        group, its jobs come. Reads page by page, so even a group of 10,000 jobs takes little memory.
        """
        return self._own_lease().results()

    def aresults(self) -> AsyncIterator[NodeEnd]:
        """``results`` for ``async def`` handlers: ``async for end in job.aresults()``."""
        return self._own_lease().aresults()

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
    def transaction(self, result: object = None, *, using: object = None) -> AbstractContextManager[Any]:
        """Gives the block a transaction whose commit completes the job: ``with job.transaction() as conn: ...``.

        Your own rows, jobs that you enqueue with ``using(conn)``, the result and the completion commit together. If the lease is lost,
        the block raises LeaseLostError, and everything is rolled back. So the effect happens exactly once.

        ``using``: the object that makes the connection. Without it, the block gets a psycopg connection of the app's pool. With a
        sessionmaker, it gets a Session; with an Engine, SQLAlchemy's Connection; with a ConnectionPool, a psycopg connection of that pool.
        Each of these must connect to the database that has pgqueue's tables. ``result``: the result of the job, unless the block calls
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
    ) -> AbstractAsyncContextManager[Any]:
        """``transaction`` for ``async def`` handlers: ``async with job.atransaction() as conn: ...``.

        ``using``: an async_sessionmaker, an AsyncEngine, an AsyncConnectionPool of psycopg, or a pool of asyncpg.
        """
        return self._own_lease().atransaction(result, using)

    def finish(self, result: object) -> None:
        """Sets the result of the job in a block of ``transaction`` or ``atransaction``, for a result that only the block computes.

        Raises RuntimeError outside such a block. Outside a block, return the result from the handler instead.
        """
        self._own_lease().finish(result)

    def _own_lease(self) -> Lease:
        if self.lease is None:
            msg = f"job {self.id} was read, not claimed: only the job handed to its handler has a lease"
            raise RuntimeError(msg)
        return self.lease
