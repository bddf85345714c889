"""Checks whether a connection of a pool still works before a caller gets it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue.database.lock_waits import aset_limit, change_of_limit, set_limit
from pgqueue.database.loop_pool import CancellablePool
from pgqueue.database.silence import has_arrived, within
from pgqueue.runtime.clock import monotonic

# If a connection was unused for more seconds than this, the server must answer on it before it is used again. Firewalls, address
# translation and load balancers drop idle connections without a message to either end, but only after a minute or more.
IDLE = 10.0
SILENCE = 5.0  # the server must answer on such a connection within this many seconds
# If connections that were made just now do not work, the next one is tried after a pause. The first pause has this many seconds, each
# further one is twice as long, up to LONGEST_PAUSE.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class Use(NamedTuple):
    """What a connection is taken for.

    ``one_statement``: a single statement, which commits by itself. If the server is silent on such a connection, the caller waits only
    once, and a time limit ends the wait. In a transaction, a handler would wait again at each of its statements.
    ``own``: only statements of pgqueue, which wait for a lock at most LOCK_PATIENCE seconds. A statement of the user has no such limit.
    """

    one_statement: bool
    own: bool


# For each connection, the time when it was made or came back to its pool.
_used_at: WeakKeyDictionary[Connection | AsyncConnection, float] = WeakKeyDictionary()


def note_use(connection: Connection | AsyncConnection) -> None:
    """Notes that the connection has just been made, or that its user gives it back."""
    _used_at[connection] = monotonic()


class Search:
    """A caller's search for a connection that works. Decides how long it goes on, and what a failed check means for the next connections.

    The checks are not left to the pool of psycopg, because it sleeps for 1 s, 2 s, 4 s … after failed checks, although connections that
    broke while they were idle say nothing about the server. After a restart of the server, all idle connections are broken.
    """

    def __init__(self, patience: float) -> None:
        self._begun = monotonic()
        self._until = self._begun + patience
        self._silent = False
        self._next_pause = FIRST_PAUSE
        self.pause = 0.0  # seconds to wait before the next try

    def left(self) -> float:
        return self._until - monotonic()

    def is_hopeless(self, connection: Connection | AsyncConnection) -> bool:
        """Returns whether another connection was silent, and this one is as old. To wait for each of them could take all the time."""
        return self._silent and self._is_old(connection)

    def failed(self, connection: Connection | AsyncConnection, asked: float) -> None:
        """Notes that the check which began at ``asked`` has failed. A pause follows only if the connection was made just now."""
        self._silent = self._silent or monotonic() - asked >= SILENCE
        if self._is_old(connection):
            self.pause = 0.0
        else:
            self.pause = min(self._next_pause, max(self.left(), 0.0))
            self._next_pause = min(2 * self._next_pause, LONGEST_PAUSE)

    def _is_old(self, connection: Connection | AsyncConnection) -> bool:
        return _used_at.get(connection, -math.inf) < self._begun


def works(pool: ConnectionPool[Connection], taken: Connection, use: Use, search: Search) -> bool:
    """Returns whether the connection works. If it does not, gives it back to the pool, which makes a new one in its place."""
    passed, asked = False, monotonic()
    try:
        if not search.is_hopeless(taken):
            with suppress(Exception):
                _check(taken, use)
                passed = True
    finally:
        if not passed:
            search.failed(taken, asked)
            taken.close()
            pool.putconn(taken)
    return passed


async def works_async(pool: CancellablePool, taken: AsyncConnection, use: Use, search: Search) -> bool:
    """``works`` for an AsyncConnection."""
    passed, asked = False, monotonic()
    try:
        if not search.is_hopeless(taken):
            with suppress(Exception):
                await _check_async(taken, use)
                passed = True
    finally:
        if not passed:
            search.failed(taken, asked)
            await taken.close()
            await pool.putconn(taken)
    return passed


def _check(connection: Connection, use: Use) -> None:
    """Raises an error if the connection is broken or silent. Then the caller gets another one, so no job loses an attempt and no enqueue fails.

    If the session needs another lock_timeout, the statement that sets it also tests the connection.
    """
    if change := change_of_limit(connection, limited=use.own):
        with within(connection, SILENCE):
            set_limit(connection, change, limited=use.own)
    elif _is_doubtful(connection, use):
        with within(connection, SILENCE):
            ConnectionPool.check_connection(connection)


async def _check_async(connection: AsyncConnection, use: Use) -> None:
    """``_check`` for an AsyncConnection."""
    if change := change_of_limit(connection, limited=use.own):
        with within(connection, SILENCE):
            await aset_limit(connection, change, limited=use.own)
    elif _is_doubtful(connection, use):
        with within(connection, SILENCE):
            await AsyncConnectionPool.check_connection(connection)


def _is_doubtful(connection: Connection | AsyncConnection, use: Use) -> bool:
    """Returns whether the connection must be tested by a round trip to the server before it is used.

    It is tested if it is for a transaction, if it was unused for IDLE seconds, or if the server has sent something meanwhile. If
    the server has ended the session, its last message or the closed socket has arrived, which is seen without a round trip.
    """
    if not use.one_statement or has_arrived(connection):
        return True
    return monotonic() - _used_at.get(connection, -math.inf) > IDLE
