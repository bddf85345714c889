"""A handler can use a library that keeps one connection for each thread, as Django's ORM does.

The guide shows a middleware that closes the broken connections of such a library. The same middleware is tested here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from pgqueue import App, Call
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker

opened: list[psycopg.Connection[tuple[int]]] = []


class Orm(threading.local):
    """Keeps one connection for each thread. A thread's connection is opened at its first use.

    A broken connection is kept too, until ``close_old_connections`` is called.
    """

    connection: psycopg.Connection[tuple[int]] | None = None

    def query(self, dsn: str, text: str) -> None:
        if self.connection is None:
            self.connection = psycopg.connect(dsn, autocommit=True)
            opened.append(self.connection)
        self.connection.execute(text.encode())

    def close_old_connections(self) -> None:
        if self.connection is not None and self.connection.closed:
            self.connection = None


@pytest.mark.parametrize(("closing", "state"), [(True, "completed"), (False, "dead")])
def test_later_handlers_succeed_if_a_middleware_closes_broken_connections_and_fail_otherwise(
    dsn, db, closing, state
) -> None:
    app, orm = App(dsn), Orm()

    @app.middleware
    def connections(call: Call) -> Iterator[None]:
        if closing:
            orm.close_old_connections()
        try:
            yield
        finally:
            if closing:
                orm.close_old_connections()

    @app.task(name="t", retry=False)
    def t(text: str) -> None:
        orm.query(dsn, text)

    broken = t.enqueue("select pg_terminate_backend(pg_backend_pid())")
    later = [t.enqueue("select 1") for _ in range(3)]
    Worker(app, WorkerSettings(queues={"default": None}, concurrency=1, drain=True)).run()
    assert broken.job().state == "dead"
    assert {handle.job().state for handle in later} == {state}
    app.close()
    for connection in opened:
        connection.close()
