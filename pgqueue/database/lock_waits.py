"""Limits how long the statements of an app wait for a lock. If the time is up, an error names the sessions that have the lock.

Only a limit ends some of these waits. If a thread enqueues with a key in an open transaction, and then enqueues with the same key on a
connection of the app, the second enqueue waits for the first. The server sees no deadlock, because the first session waits for the client.
"""

from __future__ import annotations

from contextlib import suppress
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue.database import statements
from pgqueue.database.run import run, run_async
from pgqueue.database.statements.server import Locker
from pgqueue.errors import LockedError

LOCK_PATIENCE = 10.0  # a statement of an app waits at most this many seconds for a lock
# If the role, the database or the DSN has set a limit of its own, this limit stays.
LIMIT = (
    "select pg_catalog.set_config('lock_timeout', '{:g}s', false)"
    " where pg_catalog.current_setting('lock_timeout') = '0'"
)
NO_LIMIT = b"reset lock_timeout"

# Whether a session has the limit. If a caller was cancelled while it set or removed the limit, the session is missing here.
_limited: WeakKeyDictionary[Connection | AsyncConnection, bool] = WeakKeyDictionary()


def change_of_limit(connection: Connection | AsyncConnection, *, limited: bool) -> bytes | None:
    """Returns a statement that sets or removes the limit in this session, or None if the session is as it should be.

    If a pooler passes the sessions on to other clients, no session gets the limit. Then the connection prepares no statements.
    """
    if connection.prepare_threshold is None or _limited.get(connection) is limited:
        return None
    _limited.pop(connection, None)  # until the statement has an answer, the state of the session is not known
    return LIMIT.format(LOCK_PATIENCE).encode() if limited else NO_LIMIT


async def limit_waits(connection: AsyncConnection) -> None:
    """Limits how long the statements on this connection wait for a lock, until it is closed."""
    if (limit := change_of_limit(connection, limited=True)) is not None:
        await connection.execute(limit)


def set_limit(connection: Connection, change: bytes, *, limited: bool) -> None:
    """Executes ``change``, and remembers that the session has the limit or not. Leaves the connection in autocommit."""
    connection.autocommit = True
    connection.execute(change)
    _limited[connection] = limited


async def aset_limit(connection: AsyncConnection, change: bytes, *, limited: bool) -> None:
    """``set_limit`` for an AsyncConnection."""
    await connection.set_autocommit(True)
    await connection.execute(change)
    _limited[connection] = limited


def locked(connection: Connection) -> LockedError:
    """Returns the error for a wait that is over. ``connection``, which waited, must not be in a transaction."""
    lockers: list[Locker] = []
    with suppress(psycopg.Error):
        connection.autocommit = True
        lockers = run(connection, statements.find_blockers(LOCK_PATIENCE))
    return _error(lockers)


async def alocked(connection: AsyncConnection) -> LockedError:
    """``locked`` for an AsyncConnection."""
    lockers: list[Locker] = []
    with suppress(psycopg.Error):
        await connection.set_autocommit(True)
        lockers = await run_async(connection, statements.find_blockers(LOCK_PATIENCE))
    return _error(lockers)


def _error(lockers: list[Locker]) -> LockedError:
    said = "; ".join(map(str, lockers)) or "a session that has ended since"
    pids = [locker.pid for locker in lockers if locker.pid]
    end = f"; or end it: select pg_terminate_backend({pids[0]})" if pids else ""
    return LockedError(
        "Another transaction holds a key, a job or a table that this call needs. The call has waited, but did not get it, and has stored nothing.",
        why=f"in the way: {said}",
        do=f"commit that transaction, or make this call join it by task.using(conn){end}",
    )
