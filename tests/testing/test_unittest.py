"""``PgQueueTestCase`` with unittest, sync and async."""

from __future__ import annotations

import unittest
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from pgqueue import App
from pgqueue.integrations.testing import PgQueueTestCase

app = App(name="shop")


@app.task(name="ship")
async def ship(order: int) -> int:
    return order


class Orders(PgQueueTestCase, unittest.TestCase):
    pgqueue_app = app
    dsn = ""
    __test__ = False

    def pgqueue_connection(self) -> object:
        connection = psycopg.connect(self.dsn)
        self.addCleanup(connection.close)
        return connection

    def test_one(self) -> None:
        ship.enqueue(1)
        assert self.pgqueue.drain().counts == {"completed": 1}

    test_again = test_one


class AsyncOrders(PgQueueTestCase, unittest.IsolatedAsyncioTestCase):
    pgqueue_app = app
    dsn = ""
    __test__ = False
    connection: AsyncConnection[Any]

    async def asyncSetUp(self) -> None:
        self.connection = await AsyncConnection.connect(self.dsn)
        self.join_pgqueue(self.connection)

    async def asyncTearDown(self) -> None:
        await self.connection.close()

    def pgqueue_connection(self) -> object:
        return None

    async def test_one(self) -> None:
        await ship.aenqueue(1)
        assert len(await self.pgqueue.adrain()) == 1

    test_again = test_one


class Nameless(PgQueueTestCase, unittest.TestCase):
    __test__ = False

    def pgqueue_connection(self) -> object:
        return object()

    def test_one(self) -> None: ...


@pytest.mark.parametrize("case", [Orders, AsyncOrders])
def test_a_case_runs(run_dsn: str, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "dsn", run_dsn)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])


def test_a_case_without_an_app_says_so() -> None:
    result = unittest.TestResult()
    Nameless("test_one").run(result)
    [(_, said)] = result.errors
    assert "Nameless has no app.  do: set pgqueue_app = app in the class" in said
