"""The connections of an app: one pool for all sync callers, and one pool for each open event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgqueue.database.checks import SILENCE, Search, Use, note_use, works, works_async
from pgqueue.database.confirming import confirmed
from pgqueue.database.lock_waits import alocked, locked
from pgqueue.database.loop_pool import CancellablePool, LoopPool
from pgqueue.database.outage import READ_ONLY
from pgqueue.database.reach import why_away
from pgqueue.database.run import KEEPALIVE, connect
from pgqueue.database.silence import within
from pgqueue.errors import PoolExhaustedError
from pgqueue.runtime import forks
from pgqueue.runtime.interruption import here, uninterrupted

POOL_SIZE = 10
# If an async caller uses a connection with autocommit, the server must answer all its statements within this many seconds, as for a
# statement of a worker (``Link``). For a sync caller only a second thread could watch the time, and that thread would cost more than the
# statements. So the wait of a sync caller ends by TCP's own time-out, or by the timeout of the caller's job.
ANSWER = 60.0
POOL_PATIENCE = 30.0  # a caller waits at most this many seconds for a connection
# A person who waits for an answer gets one about an outage after at most the sum of these seconds: for a connection, and for the reason why
# there is none.
HURRY, REASON = 2.0, 0.75
# A pool of psycopg tries to make a new connection at once, after 1 s, after 2 s more, and so on. Its pauses become twice as long each time.
# So the pool gives up a connection that it cannot make within this many seconds. If callers wait, it begins again, with one connection. So
# its pauses are at most 1.5 s, and callers get a connection soon after the server is back. If no caller waits, it tries nothing until the
# next call.
RECONNECTING = 2.5
# A handler that waits for a connection can be interrupted once in this many seconds. This is less than DEAF in worker/running/threads.py:
# if a handler does not end within DEAF seconds after its timeout, its worker gives it up.
INTERRUPTIBLE_EVERY = 1.0


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
            taken = _take(pool, Use(autocommit, own), gap)
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
                note_use(taken)
                pool.putconn(taken)

    def _pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._sync is None:
                dsn = self._dsn()
                self._sync = ConnectionPool(
                    dsn,
                    configure=note_use,
                    min_size=1,
                    max_size=self._size,
                    timeout=POOL_PATIENCE,
                    reconnect_timeout=RECONNECTING,
                    reconnect_failed=_begin_again,
                    kwargs=_session(prepare_threshold(dsn)),
                    open=True,
                )
            return self._sync

    def aconnection(
        self, *, autocommit: bool = False, own: bool = False
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """``connection`` for async callers, with the pool of the running event loop."""
        return self._lent(Use(autocommit, own), self._take_in_turn)

    def soon(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """``aconnection`` with ``own``, for a person who waits: if the server is away, fails soon, or at once if that is known."""
        return self._lent(Use(one_statement=False, own=True), self._take_soon)

    @asynccontextmanager
    async def _lent(
        self, use: Use, take: Callable[[LoopPool, Use], Awaitable[tuple[CancellablePool, AsyncConnection]]]
    ) -> AsyncIterator[AsyncConnection]:
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            self._abandon()
        mine = self._async.setdefault(loop, LoopPool())
        pool, taken = await take(mine, use)
        try:
            if taken.autocommit is not use.one_statement:
                await taken.set_autocommit(use.one_statement)
            if _is_special(taken):
                await taken.set_read_only(None)
                await taken.set_isolation_level(None)
                await taken.set_deferrable(None)
            taken.row_factory = tuple_row
            if use.one_statement:
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
            if use.own:
                raise await alocked(taken) from error
            raise
        finally:
            note_use(taken)
            await mine.uncancelled(pool.putconn(taken))

    async def _take_in_turn(self, mine: LoopPool, use: Use) -> tuple[CancellablePool, AsyncConnection]:
        pool = await self._opened(mine)
        try:
            return pool, await mine.take(_take_async(pool, use))
        except PoolTimeout:
            raise await asyncio.to_thread(_exhausted, pool) from None

    async def _take_soon(self, mine: LoopPool, use: Use) -> tuple[CancellablePool, AsyncConnection]:
        async def steps() -> AsyncConnection:
            return await _take_async(await self._opened(mine), use)

        try:
            taken = await mine.take_soon(steps(), HURRY, lambda: why_away(self._dsn(), REASON))
        except PoolTimeout:
            raise _no_room(HURRY, self._size) from None
        return await self._opened(mine), taken

    async def _opened(self, mine: LoopPool) -> CancellablePool:
        if mine.pool is None:
            async with (
                mine.opening
            ):  # so that only one pool is opened if several callers need it at the same time
                mine.pool = mine.pool or await self._open(mine)
        return mine.pool

    async def _open(self, own: LoopPool) -> CancellablePool:
        async def configure(connection: AsyncConnection) -> None:
            own.connections.add(connection)
            note_use(connection)

        async def begin_again(pool: AsyncConnectionPool[AsyncConnection]) -> None:
            # While the pool opens, ``open`` waits for its first connection. The pool does not count it as a caller.
            if own.pool is None or _has_callers(pool):
                await pool.check()

        dsn = self._dsn()
        pool = CancellablePool(
            dsn,
            configure=configure,
            min_size=1,
            max_size=self._size,
            timeout=POOL_PATIENCE,
            reconnect_timeout=RECONNECTING,
            reconnect_failed=begin_again,
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


def _take(
    pool: ConnectionPool[Connection], use: Use, gap: Callable[[], AbstractContextManager[None]]
) -> Connection:
    """Takes a connection that works from the pool. If none becomes free in time, raises PoolExhaustedError.

    A handler waits in several short waits, because it can be interrupted only between them. Other callers wait once, because each
    new wait begins at the end of the pool's line.
    """
    patience = pool.timeout if here.thread is None else INTERRUPTIBLE_EVERY
    search = Search(pool.timeout)
    while (left := search.left()) > 0:
        try:
            taken = pool.getconn(min(patience, left))
        except PoolTimeout:
            with gap():
                pass
            continue
        if works(pool, taken, use, search):
            return taken
        with gap():
            time.sleep(search.pause)
    raise _exhausted(pool)


async def _take_async(pool: CancellablePool, use: Use) -> AsyncConnection:
    """``_take`` for async callers. If no connection becomes free in time, raises PoolTimeout."""
    search = Search(pool.timeout)
    while (left := search.left()) > 0:
        taken = await pool.getconn(left)
        if await works_async(pool, taken, use, search):
            return taken
        await asyncio.sleep(search.pause)
    raise PoolTimeout


def _begin_again(pool: ConnectionPool[Connection]) -> None:
    if _has_callers(pool):
        pool.check()  # makes a new connection if no other one is being made


def _has_callers(pool: ConnectionPool[Connection] | AsyncConnectionPool[AsyncConnection]) -> bool:
    """Returns whether callers wait for a connection. If so, the pool has no free connection that ``check`` would test."""
    return pool.get_stats().get("requests_waiting", 0) > 0


def _is_special(connection: Connection | AsyncConnection) -> bool:
    """Returns whether the transactions of the connection have other properties than those of the database."""
    special = (connection.read_only, connection.isolation_level, connection.deferrable)
    return special != (None, None, None)


def _session(threshold: int | None) -> dict[str, object]:
    return {"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE}


def _exhausted(pool: ConnectionPool[Connection] | AsyncConnectionPool[AsyncConnection]) -> PoolExhaustedError:
    """Returns the error to raise. If the server cannot be reached, raises an error with the reason instead."""
    prepare_threshold(pool.conninfo)  # type: ignore[arg-type]
    return _no_room(pool.timeout, pool.max_size)


def _no_room(waited: float, size: int) -> PoolExhaustedError:
    return PoolExhaustedError(
        f"No connection of the app's pool became free within {waited:g} s; all {size} are in use.",
        why="each handler in job.transaction() that enqueues without using(conn) needs a second connection, or a caller keeps a connection for long",
        do=f"join the transaction with task.using(conn), or make the pool larger: App(pool_size={2 * size})",
    )
