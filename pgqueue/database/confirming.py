"""What a caller learns if a connection breaks while a commit is under way."""

from __future__ import annotations

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue import errors
from pgqueue.database.joining import AsyncpgConnection, is_closed


class confirmed:  # noqa: N801 - it reads like a function; a generator would cost each enqueue four calls more
    """Wraps a commit, or statements that commit by themselves.

    If the connection breaks in the block, raises CommitUnconfirmedError, because nobody knows whether the server has committed.
    Sends nothing again, because a second commit could store a job twice. Only jobs with keys can be sent again without harm.
    """

    __slots__ = ("_connection", "_was_open")

    def __init__(self, connection: Connection | AsyncConnection | AsyncpgConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._was_open = not is_closed(self._connection)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not self._was_open or not isinstance(error, Exception):
            return  # nothing was sent, or it succeeded
        is_lost = is_closed(self._connection)
        if isinstance(self._connection, Connection | AsyncConnection):
            is_lost = is_lost and isinstance(error, psycopg.OperationalError)
        elif isinstance(error, TimeoutError):
            is_lost = True  # asyncpg's command_timeout, which keeps the connection
        if not is_lost or isinstance(error, errors.PgQueueError):
            return  # the server answered with an error
        raise errors.CommitUnconfirmedError((str(error).splitlines() or ["it broke"])[0]) from error
