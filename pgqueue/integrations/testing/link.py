"""The link of a drain: the parts of a worker send their statements on it, into the transaction of a test."""

from __future__ import annotations

from typing import TypeVar

from psycopg import AsyncConnection

from pgqueue.database.link import Link
from pgqueue.errors import WrongConnectionError
from pgqueue.integrations.testing.transaction import JoinedTransaction
from pgqueue.sql import Statement

T = TypeVar("T")
LIMIT = 60.0


class TransactionLink(Link):
    """Each statement runs in a savepoint, so that a statement that fails leaves the test's transaction usable."""

    def __init__(self, transaction: JoinedTransaction) -> None:
        self._transaction, self.limit = transaction, LIMIT

    async def connection(self) -> AsyncConnection:
        raise WrongConnectionError("A drain has no connection of its own.")

    async def once(self, statement: Statement[T]) -> T:
        return await self._transaction.arun(statement)

    async def wait_until_back(self) -> None:
        """Returns at once: if the test's connection breaks, the test fails."""

    async def close(self) -> None:
        """Leaves the connection open, because it is the test's."""
