"""The application's own connections: a pool for sync callers, and one for each open event loop."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgqueue.database.outage import READ_ONLY
from pgqueue.database.run import KEEPALIVE, confirmed, connect
from pgqueue.database.silence import has_arrived, within
from pgqueue.errors import PoolExhaustedError
from pgqueue.runtime import forks
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.interruption import here, uninterrupted

POOL_SIZE = 10
# If a connection was unused for more seconds than this, it must answer before it is used. Firewalls, address translation
# and balancers cut idle connections without a word, but only after a minute or more.
IDLE = 10.0
SILENCE = 5.0  # seconds in which such a connection must answer
# Seconds in which the server must answer all of an autocommit block: as many as for any statement of a worker (``Link``). A sync caller has no such
# bound, because a watching thread costs more than the block. TCP's own time-out and the timeout of its job bound that caller.
ANSWER = 60.0
POOL_PATIENCE = 30.0  # seconds that a caller waits for a connection
# Seconds after which a handler that waits for a connection can be interrupted: before it counts as deaf (worker/running/threads.py).
INTERRUPTIBLE_EVERY = 1.0
CLOSING = 1.0  # seconds that the end of a loop waits for a connection that is being opened


# Whether the connection that is taken now serves one statement, which commits by itself. If such a connection is silent, the
# caller loses one wait, which a bound ends. In a transaction a handler would wait for the connection again and again.
_for_one_statement: ContextVar[bool] = ContextVar("_for_one_statement", default=False)
# When each connection came back to its pool.
_used_at: WeakKeyDictionary[Connection | AsyncConnection, float] = WeakKeyDictionary()


def prepare_threshold(dsn: str) -> int | None:
    """After how many uses a pool prepares a statement; None behind a pooler. Raises a clear error where the pool would raise a time-out."""
    with connect(dsn) as probe:
        return probe.prepare_threshold


@dataclass(eq=False)
class LoopPool:
    """The pool of one event loop. ``connections``: all that it has opened."""

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    pool: AsyncConnectionPool[AsyncConnection] | None = None
    connections: WeakSet[AsyncConnection] = field(default_factory=WeakSet)

    async def remember(self, connection: AsyncConnection) -> None:
        self.connections.add(connection)

    def abandon(self) -> None:
        """Closes the sockets, which is all that can be done for a pool whose loop is closed."""
        for connection in list(self.connections):
            connection.pgconn.finish()
        if self.pool is not None:
            self.pool._closed = True  # noqa: SLF001 - else its finalizer uses the closed loop


class Pools:
    """Pools that threads, event loops and forked processes may use. ``size``: the most connections of each pool; None: POOL_SIZE, or what a worker needs."""

    def __init__(self, dsn: Callable[[], str], size: int | None = None) -> None:
        self._dsn, self._given, self._size = dsn, size, size or POOL_SIZE
        self._sync: ConnectionPool[Connection] | None = None
        self._async: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self._lock = threading.Lock()
        forks.tell(self)

    def forked(self) -> None:
        forks.keep((self._sync, self._async))
        self._sync, self._async, self._lock = None, {}, threading.Lock()

    def make_room(self, handlers: int) -> None:
        """Makes the pools large enough for this many handlers, each in a transaction and enqueuing beside it. A size that the user has set stays."""
        if self._given is None:
            self._size = max(self._size, 2 * handlers)

    @contextmanager
    def connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection in a transaction that commits at the end of the block, or, with ``autocommit``, after each statement."""
        with uninterrupted() as gap:
            pool = self._pool()
            with _taking(autocommit=autocommit):
                taken = _take(pool, gap)
            try:
                # The connection's former user may have left autocommit on or off.
                if taken.autocommit is not autocommit:
                    taken.autocommit = autocommit
                if autocommit:
                    with confirmed(taken), _cancelled_if_left(taken), gap():
                        yield taken
                else:
                    with taken:
                        with gap():
                            yield taken
                        with confirmed(taken):
                            taken.commit()
            except READ_ONLY:
                taken.close()
                raise
            finally:
                _used_at[taken] = monotonic()
                pool.putconn(taken)

    def _pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._sync is None:
                dsn = self._dsn()
                self._sync = ConnectionPool(
                    dsn,
                    check=_check,
                    min_size=1,
                    max_size=self._size,
                    timeout=POOL_PATIENCE,
                    kwargs=_session(prepare_threshold(dsn)),
                    open=True,
                )
            return self._sync

    @asynccontextmanager
    async def aconnection(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Like ``connection``, for the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            self._abandon()
        own = self._async.setdefault(loop, LoopPool())
        async with own.opening:  # callers that arrive together share one pool
            if own.pool is None:
                own.pool = await self._open(own)
            pool = own.pool
        try:
            with _taking(autocommit=autocommit):
                taken = await pool.getconn()
        except PoolTimeout:
            raise await asyncio.to_thread(_exhausted, pool) from None
        try:
            if taken.autocommit is not autocommit:
                await taken.set_autocommit(autocommit)
            if autocommit:
                with confirmed(taken), within(taken, ANSWER):
                    yield taken
            else:
                async with taken:
                    yield taken
                    with confirmed(taken):
                        await taken.commit()
        except READ_ONLY:
            await taken.close()
            raise
        finally:
            _used_at[taken] = monotonic()
            await pool.putconn(taken)

    async def _open(self, own: LoopPool) -> AsyncConnectionPool[AsyncConnection]:
        dsn = self._dsn()
        pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
            dsn,
            configure=own.remember,
            check=_check_async,
            min_size=1,
            max_size=self._size,
            timeout=POOL_PATIENCE,
            kwargs=_session(await asyncio.to_thread(prepare_threshold, dsn)),
            open=False,
        )
        # Waits until the pool is open, because a pool that is asked sooner grows. Then the end of a short asyncio.run() cancels
        # a worker of the pool while it connects, and waits for that worker for ever.
        try:
            await pool.open(wait=True)
        except BaseException:
            await pool.close()
            raise
        return pool

    def _abandon(self) -> None:
        """Closes the pools of loops that are closed."""
        for loop in [loop for loop in list(self._async) if loop.is_closed()]:
            former = self._async.pop(loop, None)
            if former is not None:
                former.abandon()

    def close(self) -> None:
        """Closes the pools of sync callers and of closed loops. In an open loop, ``aclose`` closes the loop's pool."""
        self._abandon()
        with self._lock:
            pool, self._sync = self._sync, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        await self.leave_loop()
        self.close()

    async def leave_loop(self) -> None:
        """Closes the pool of the running loop. A pool that connects while the loop ends would swallow the cancel, and block that end for ever."""
        own = self._async.pop(asyncio.get_running_loop(), None)
        if own is not None and own.pool is not None:
            await own.pool.close(CLOSING)


@contextmanager
def _taking(*, autocommit: bool) -> Iterator[None]:
    before = _for_one_statement.set(autocommit)
    try:
        yield
    finally:
        _for_one_statement.reset(before)


@contextmanager
def _cancelled_if_left(connection: Connection) -> Iterator[None]:
    """If an interruption of a handler leaves a statement to the server, asks the server to end it. Otherwise it would still commit.

    On an AsyncConnection psycopg does so itself.
    """
    try:
        yield
    except BaseException:
        if connection.info.transaction_status is TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=SILENCE)
        raise


def _take(pool: ConnectionPool[Connection], gap: Callable[[], AbstractContextManager[None]]) -> Connection:
    """Takes a connection. Only a handler waits in slices, between which it can be interrupted: each slice loses the place in the pool's line."""
    patience = pool.timeout if here.thread is None else INTERRUPTIBLE_EVERY
    until = monotonic() + pool.timeout
    while (left := until - monotonic()) > 0:
        try:
            return pool.getconn(min(patience, left))
        except PoolTimeout:
            with gap():
                pass
    raise _exhausted(pool)


def _check(connection: Connection) -> None:
    """If the connection is broken or silent, raises, so that the pool replaces it: no job loses an attempt, no enqueue fails."""
    if _is_doubtful(connection):
        with within(connection, SILENCE):
            ConnectionPool.check_connection(connection)


async def _check_async(connection: AsyncConnection) -> None:
    """``_check`` for an AsyncConnection."""
    if _is_doubtful(connection):
        with within(connection, SILENCE):
            await AsyncConnectionPool.check_connection(connection)


def _is_doubtful(connection: Connection | AsyncConnection) -> bool:
    """Whether to ask the server before use, in a round trip: for a transaction, after a long pause, or if something has arrived meanwhile.

    If the server ended the session, its message or the closed socket can be read without a round trip.
    """
    if not _for_one_statement.get() or has_arrived(connection):
        return True
    return monotonic() - _used_at.get(connection, -math.inf) > IDLE


def _session(threshold: int | None) -> dict[str, object]:
    return {"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE}


def _exhausted(pool: ConnectionPool[Connection] | AsyncConnectionPool[AsyncConnection]) -> PoolExhaustedError:
    """The error to raise. If the server cannot be reached, raises instead the error that says why."""
    prepare_threshold(pool.conninfo)  # type: ignore[arg-type]
    return PoolExhaustedError(
        f"No connection of the app's pool became free within {pool.timeout:g} s; all {pool.max_size} are in use.",
        why="each handler in job.transaction() that enqueues without using(conn) needs a second connection, or a caller keeps a connection for long",
        do=f"join the transaction with task.using(conn), or make the pool larger: App(pool_size={2 * pool.max_size})",
    )
