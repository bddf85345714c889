"""Test cases for unittest and other runners. Use a class beside the one of your framework: ``class OrderTest(PgQueueTestCase, TestCase)``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

import psycopg

from pgqueue.app.app import App
from pgqueue.errors import InvalidSettingError
from pgqueue.integrations.testing.queue import QueueInTest, joined_queue
from pgqueue.integrations.testing.run import RunOfTests


class PgQueueTestCase:
    """``self.pgqueue`` is a ``QueueInTest`` on the connection that ``pgqueue_connection`` returns. It works with IsolatedAsyncioTestCase, too.

    ``pgqueue_app``: the app, which your class sets. By default, the connection is one of psycopg to a database that is made for this
    process, and the rows of each test are rolled back. With Django's TestCase, return ``django.db.connection``: Django rolls it back.
    """

    pgqueue_app: ClassVar[App]
    pgqueue: QueueInTest
    _pgqueue_stack: ExitStack

    def pgqueue_connection(self) -> object:
        """Returns the connection of this test, in a transaction; None: ``asyncSetUp`` calls ``join_pgqueue`` with an async one."""
        connection = psycopg.connect(RunOfTests.current().dsn())
        self._pgqueue_stack.callback(connection.close)
        self._pgqueue_stack.callback(connection.rollback)
        return connection

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self._pgqueue_stack = ExitStack()
        self.addCleanup(self._pgqueue_stack.close)  # type: ignore[attr-defined]
        connection = self.pgqueue_connection()
        if connection is not None:
            self.join_pgqueue(connection)

    def join_pgqueue(self, connection: object) -> None:
        """Lets ``self.pgqueue`` use this connection until the end of the test."""
        app = getattr(self, "pgqueue_app", None)
        if app is None:
            raise InvalidSettingError(
                f"{type(self).__name__} has no app.",
                do="set pgqueue_app = app in the class, with the App of your project",
            )
        self.pgqueue = self._pgqueue_stack.enter_context(joined_queue(app, connection))
