"""Runs the statements of a page: read only, for a limited time, and with the texts that the page shows under its numbers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection

from pgqueue.database.flows import Flow, drive_async
from pgqueue.database.pools import Pools
from pgqueue.database.run import run_async
from pgqueue.database.silence import within
from pgqueue.sql import Statement
from pgqueue.text.shown import quoted
from pgqueue.ui.reading.page import Query

T = TypeVar("T")

PARAMETER = re.compile(r"%(?:\((\w+)\)s|%)")

PATIENCE = "2s"  # a page that the server cannot answer in this time says so
ANSWER = 3.0  # seconds; a connection on which the server does not answer a statement is cut: then the server is away, or the network
# What holds a page up also holds up vacuum, so a page never waits for a lock.
_LIMITS = (
    "set transaction read only; set local search_path = pg_catalog, pg_temp; set local timezone = 'UTC';"
    f" set local statement_timeout = '{PATIENCE}'; set local lock_timeout = '500ms'; set local jit = off"
)


class Reader:
    """The statements of one page. ``queries`` counts them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.queries = 0

    async def ask(self, statement: Statement[T]) -> T:
        """Returns the answer of the server. Raises an error of the driver if it does not come within PATIENCE."""
        self.queries += 1
        with within(self._connection, ANSWER):
            return await run_async(self._connection, statement)

    async def follow(self, flow: Flow[T]) -> T:
        """Returns what a flow of statements returns."""
        return await drive_async(self._connection, flow)


@asynccontextmanager
async def reading(pools: Pools) -> AsyncIterator[Reader]:
    """Opens a read-only transaction for one page."""
    async with pools.soon() as connection:
        with within(connection, ANSWER):
            await connection.execute(_LIMITS)
        yield Reader(connection)


@asynccontextmanager
async def reading_on(connection: AsyncConnection) -> AsyncIterator[Reader]:
    """Opens a read-only transaction for one page on an autocommit connection, which need not be of a pool."""
    try:
        with within(connection, ANSWER):
            await connection.execute(f"begin; {_LIMITS}", prepare=False)  # one round trip
        yield Reader(connection)
    except BaseException:
        with suppress(psycopg.Error), within(connection, ANSWER):
            await connection.rollback()
        raise
    with within(connection, ANSWER):
        await connection.commit()


def shown(statement: Statement[object], command: str | None = None) -> Query:
    """Returns the statement as SQL that a person can paste into psql, with its values in place of the parameters."""

    def value(found: re.Match[str]) -> str:
        return literal(statement.parameters[found[1]]) if found[1] else "%"

    # In one pass, so that a value that looks like a parameter stays a value.
    return Query(PARAMETER.sub(value, statement.text) + ";", command)


def literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return quoted(value.isoformat())
    if isinstance(value, list | tuple):
        return f"array[{', '.join(map(literal, value))}]"
    return quoted(str(value))
