"""Connections for a person who waits: they are ready soon, or the person learns why not."""

from __future__ import annotations

import asyncio

from psycopg import AsyncConnection

from pgqueue.database.driver_errors import explained
from pgqueue.database.dsn import redact
from pgqueue.database.run import ORDINARY, connect_async
from pgqueue.errors import DatabaseUnreachableError, PgQueueError

PATIENCE = 2.5  # seconds for which a person waits for a connection


async def connect_soon(dsn: str, *, name: str, patience: float = PATIENCE) -> AsyncConnection:
    """Opens an autocommit connection. Raises a DatabaseError with the reason if it is not ready within ``patience`` seconds."""
    try:
        async with asyncio.timeout(patience):
            with explained(dsn or " "):
                return await connect_async(dsn, name=name, session=ORDINARY)
    except TimeoutError:
        raise DatabaseUnreachableError(
            f"The database cannot be reached ({redact(dsn)}).",
            why=f"it has not answered within {patience:g} s",
            do="is it running, and is this its host and port?",
        ) from None


async def why_away(dsn: str, patience: float) -> PgQueueError | None:
    """Returns why no connection can be made now. None: one can be made."""
    try:
        async with await connect_soon(dsn, name="pgqueue app", patience=patience):
            return None
    except PgQueueError as error:
        return error
