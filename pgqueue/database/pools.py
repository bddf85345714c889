"""The connections of an app: one pool for all sync callers, and one pool for each open event loop."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgqueue.database.lock_waits import alocked, aset_limit, change_of_limit, locked, set_limit
from pgqueue.database.loop_pool import CancellablePool, LoopPool
from pgqueue.database.outage import READ_ONLY
from pgqueue.database.run import KEEPALIVE, confirmed, connect
from pgqueue.database.silence import has_arrived, within
from pgqueue.errors import PoolExhaustedError
from pgqueue.runtime import forks
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.interruption import here, uninterrupted

POOL_SIZE = 10
# If a connection was unused for more seconds than this, the server must answer on it before it is used again. Firewalls, address
# translation and load balancers drop idle connections without a message to either end, but only after a minute or more.
IDLE = 10.0
SILENCE = 5.0  # the server must answer on such a connection within this many seconds
# If an async caller uses a connection with autocommit, the server must answer all its statements within this many seconds, as for a
# statement of a worker (``Link``). For a sync caller only a second thread could watch the time, and that thread would cost more than the
# statements. So the wait of a sync caller ends by TCP's own time-out, or by the timeout of the caller's job.
ANSWER = 60.0
POOL_PATIENCE = 30.0  # a caller waits at most this many seconds for a connection
# A handler that waits for a connection can be interrupted once in this many seconds. This is less than DEAF in worker/running/threads.py:
# if a handler does not end within DEAF seconds after its timeout, its worker gives it up.
INTERRUPTIBLE_EVERY = 1.0


class Use(NamedTuple):
    """What a connection is taken for.

    ``one_statement``: a single statement, which commits by itself. If the server is silent on such a connection, the caller waits only
    once, and a time limit ends the wait. In a transaction, a handler would wait again at each of its statements.
    ``own``: only statements of pgqueue, which wait for a lock at most LOCK_PATIENCE seconds. A statement of the user has no such limit.
    """

    one_statement: bool = False
    own: bool = False


NO_USE = Use()
_use: ContextVar[Use] = ContextVar("_use", default=NO_USE)
# For each connection, the time when it came back to its pool.
_used_at: WeakKeyDictionary[Connection | AsyncConnection, float] = WeakKeyDictionary()


def prepare_threshold(dsn: str) -> int | None:
    """Returns after how many uses a connection of a pool prepares a statement. None: never, because the DSN leads to a pooler.

    If the database cannot be reached, raises the error with the reason. The pool itself would raise only a time-out.
    """
    with connect(dsn) as probe:
        return probe.prepare_threshold


class Pools:
    """Pools that threads, event loops and forked processes can use.

    ``size``: the largest number of connections in each pool. If it is None: POOL_SIZE, or more if a worker needs more (``make_room``).
    """

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
        """Makes the pools large enough for this many handlers, if the user has not set their size.

        A handler can use two connections: one for its transaction, and one to enqueue outside this transaction.
        """
        if self._given is None:
            self._size = max(self._size, 2 * handlers)

    @contextmanager
    def connection(self, *, autocommit: bool = False, own: bool = False) -> Iterator[Connection]:
        """Opens a block with a connection of the pool. Commits at the end of the block, or after each statement if ``autocommit`` is True.

        ``own``: the block runs only statements of pgqueue. If they wait too long for a lock, raises LockedError.
        """
        with uninterrupted() as gap:
            pool = self._pool()
            before = _use.set(Use(autocommit, own))
            try:
                taken = _take(pool, gap)
            finally:
                _use.reset(before)
            try:
                # The former user of the connection can have left all of these changed.
                if taken.autocommit is not autocommit:
                    taken.autocommit = autocommit
                if _is_special(taken):
                    taken.read_only = taken.isolation_level = taken.deferrable = None
                taken.row_factory = tuple_row
                if autocommit:
                    with confirmed(taken), _CancelledIfLeft(taken), gap():
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
            except LockNotAvailable as error:
                if own:
                    raise locked(taken) from error
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
    async def aconnection(
        self, *, autocommit: bool = False, own: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """``connection`` for async callers, with the pool of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            self._abandon()
        mine = self._async.setdefault(loop, LoopPool())
        pool = mine.pool
        if pool is None:
            async with (
                mine.opening
            ):  # so that only one pool is opened if several callers need it at the same time
                pool = mine.pool = mine.pool or await self._open(mine)
        before = _use.set(Use(autocommit, own))
        try:
            taken = await mine.take(pool)
        except PoolTimeout:
            raise await asyncio.to_thread(_exhausted, pool) from None
        finally:
            _use.reset(before)
        try:
            if taken.autocommit is not autocommit:
                await taken.set_autocommit(autocommit)
            if _is_special(taken):
                await taken.set_read_only(None)
                await taken.set_isolation_level(None)
                await taken.set_deferrable(None)
            taken.row_factory = tuple_row
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
        except LockNotAvailable as error:
            if own:
                raise await alocked(taken) from error
            raise
        finally:
            _used_at[taken] = monotonic()
            await mine.uncancelled(pool.putconn(taken))

    async def _open(self, own: LoopPool) -> CancellablePool:
        dsn = self._dsn()
        pool = CancellablePool(
            dsn,
            configure=own.remember,
            check=_check_async,
            min_size=1,
            max_size=self._size,
            timeout=POOL_PATIENCE,
            kwargs=_session(await asyncio.to_thread(prepare_threshold, dsn)),
            open=False,
        )
        # Waits until the pool has its first connection. If a pool is asked for a connection before that, it opens one more.
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
        """Closes the pool of sync callers and the pools of closed loops. ``aclose`` also closes the pool of the running loop."""
        self._abandon()
        with self._lock:
            pool, self._sync = self._sync, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        await self.leave_loop()
        self.close()

    async def leave_loop(self) -> None:
        """Closes the pool of the running loop."""
        own = self._async.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close()


class _CancelledIfLeft:
    """Asks the server to end the statement that it still runs when an exception leaves the block.

    Otherwise the statement would still commit. Such an exception is an interruption of a handler. On an AsyncConnection, psycopg itself
    asks the server to end the statement.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._connection.info.transaction_status is TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=SILENCE)


def _take(pool: ConnectionPool[Connection], gap: Callable[[], AbstractContextManager[None]]) -> Connection:
    """Takes a connection from the pool.

    A handler waits in several short waits, because it can be interrupted only between them. Other callers wait once, because each
    new wait begins at the end of the pool's line.
    """
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
    """Raises an error if the connection is broken or silent. Then the pool replaces it, so no job loses an attempt and no enqueue fails.

    If the session needs another lock_timeout, the statement that sets it also tests the connection.
    """
    limited = _use.get().own
    if change := change_of_limit(connection, limited=limited):
        with within(connection, SILENCE):
            set_limit(connection, change, limited=limited)
    elif _is_doubtful(connection):
        with within(connection, SILENCE):
            ConnectionPool.check_connection(connection)


async def _check_async(connection: AsyncConnection) -> None:
    """``_check`` for an AsyncConnection."""
    limited = _use.get().own
    if change := change_of_limit(connection, limited=limited):
        with within(connection, SILENCE):
            await aset_limit(connection, change, limited=limited)
    elif _is_doubtful(connection):
        with within(connection, SILENCE):
            await AsyncConnectionPool.check_connection(connection)


def _is_special(connection: Connection | AsyncConnection) -> bool:
    """Returns whether the transactions of the connection have other properties than those of the database."""
    special = (connection.read_only, connection.isolation_level, connection.deferrable)
    return special != (None, None, None)


def _is_doubtful(connection: Connection | AsyncConnection) -> bool:
    """Returns whether the connection must be tested by a round trip to the server before it is used.

    It is tested if it is for a transaction, if it was unused for IDLE seconds, or if the server has sent something meanwhile. If
    the server has ended the session, its last message or the closed socket has arrived, which is seen without a round trip.
    """
    if not _use.get().one_statement or has_arrived(connection):
        return True
    return monotonic() - _used_at.get(connection, -math.inf) > IDLE


def _session(threshold: int | None) -> dict[str, object]:
    return {"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE}


def _exhausted(pool: ConnectionPool[Connection] | AsyncConnectionPool[AsyncConnection]) -> PoolExhaustedError:
    """Returns the error to raise. If the server cannot be reached, raises an error with the reason instead."""
    prepare_threshold(pool.conninfo)  # type: ignore[arg-type]
    return PoolExhaustedError(
        f"No connection of the app's pool became free within {pool.timeout:g} s; all {pool.max_size} are in use.",
        why="each handler in job.transaction() that enqueues without using(conn) needs a second connection, or a caller keeps a connection for long",
        do=f"join the transaction with task.using(conn), or make the pool larger: App(pool_size={2 * pool.max_size})",
    )
