"""The application's own connections: a pool for sync callers, and one for each event loop that goes on."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, WeakSet

from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from pgqueue.database.outage import READ_ONLY
from pgqueue.database.run import KEEPALIVE, confirmed, connect
from pgqueue.database.silence import has_arrived, within
from pgqueue.errors import PoolExhaustedError
from pgqueue.runtime import forks
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.interruption import here, uninterrupted

POOL_SIZE = 10
# Seconds after which a connection that is taken again must answer first. What cuts idle connections without a word
# (firewalls, address translation, balancers) does it after a minute at the soonest.
IDLE = 10.0
SILENCE = 5.0  # seconds in which that answer must arrive
# Seconds in which all of an autocommit block must be answered: as long as any statement of a worker. A sync caller has no such
# bound, because a thread that watches costs more than the block: for it, TCP's own time-out counts, and the timeout of its job.
ANSWER = 60.0
POOL_PATIENCE = 30.0  # seconds that a caller waits for a connection
INTERRUPTIBLE_EVERY = 1.0  # seconds after which a handler that waits for one can be interrupted; before it counts as deaf (worker/running/threads.py)
CLOSING = 1.0  # seconds that the end of a loop waits for a connection that is being opened


# Whether the connection that is taken now serves one statement, which commits by itself. If such a connection is silent, one
# wait is lost, and a bound ends it. In a transaction a handler would wait on it again and again.
_for_one_statement: ContextVar[bool] = ContextVar("_for_one_statement", default=False)
# When each connection came back to its pool.
_used_at: WeakKeyDictionary[Connection | AsyncConnection, float] = WeakKeyDictionary()


def prepare_threshold(dsn: str) -> int | None:
    """After how many uses a pool here prepares a statement; None behind a pooler. Raises a clear error now, where the pool would raise a time-out."""
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
            self.pool._closed = True  # noqa: SLF001 - else its finalizer wants that loop


class Pools:
    """Safe over threads, event loops and forks. ``size``: connections in each pool at most; None: SIZE, or what a worker needs."""

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
        """For so many handlers at once, each in a transaction and enqueuing beside it. What the user has set stays."""
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
                # Whoever had the connection before may have left it either way.
                if taken.autocommit is not autocommit:
                    taken.autocommit = autocommit
                if autocommit:
                    with confirmed(taken), gap():
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
        """``connection`` for the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            self._abandon()
        own = self._async.setdefault(loop, LoopPool())
        async with own.opening:  # callers that come at once share one
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
        # Waits: a pool that is asked sooner grows, and the end of a short asyncio.run() waits for ever for a worker of
        # the pool that was cancelled while it connected.
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
        """The pools of sync callers and of closed loops. That of a loop that goes on is closed in it, by ``aclose``."""
        self._abandon()
        with self._lock:
            pool, self._sync = self._sync, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        await self.leave_loop()
        self.close()

    async def leave_loop(self) -> None:
        """Closes the pool of the running loop. One that connects while the loop ends would swallow the cancel, and hold up that end for ever."""
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


def _take(pool: ConnectionPool[Connection], gap: Callable[[], AbstractContextManager[None]]) -> Connection:
    """Each slice loses the place in the pool's line, so only a handler, which can be interrupted, waits in slices."""
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
    """Raises for a connection that is broken or silent, so that the pool replaces it: no job loses an attempt, no enqueue fails."""
    if _is_doubtful(connection):
        with within(connection, SILENCE):
            ConnectionPool.check_connection(connection)


async def _check_async(connection: AsyncConnection) -> None:
    """The same on an AsyncConnection."""
    if _is_doubtful(connection):
        with within(connection, SILENCE):
            await AsyncConnectionPool.check_connection(connection)


def _is_doubtful(connection: Connection | AsyncConnection) -> bool:
    """Whether to ask the server before use, in a round trip: for a transaction, after a long pause, or if something has arrived meanwhile.

    A server that ended the session said so, or its end of the socket is closed: either can be read, without a round trip.
    """
    if not _for_one_statement.get() or has_arrived(connection):
        return True
    return monotonic() - _used_at.get(connection, -math.inf) > IDLE


def _session(threshold: int | None) -> dict[str, object]:
    return {"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE}


def _exhausted(pool: ConnectionPool[Connection] | AsyncConnectionPool[AsyncConnection]) -> PoolExhaustedError:
    """Raises instead what says why the server cannot be reached, if that is why."""
    prepare_threshold(pool.conninfo)  # type: ignore[arg-type]
    return PoolExhaustedError(
        f"No connection of the app's pool became free within {pool.timeout:g} s; all {pool.max_size} are in use.",
        why="a handler in job.transaction() that enqueues without using(conn), or a caller that keeps a connection for long, needs more",
        do=f"join the transaction with task.using(conn), or make the pool larger: App(pool_size={2 * pool.max_size})",
    )
