"""An enqueue outside of the caller's transactions takes one round trip.

In most cases, no second round trip is needed to check that the connection is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, Task
from pgqueue.database import checks, pools
from pgqueue.errors import CommitUnconfirmedError
from tests.proxy import Proxy, proxy_to
from tests.waiting import wait_until

NAME = "pgqueue app"
SILENT_FOR = 10.0  # the connections get no answer for this many seconds
Enqueue = Callable[..., int]  # enqueues ``count`` jobs; returns the number of round trips


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


@pytest.fixture
def task(proxy: Proxy) -> Iterator[Task[..., Any]]:
    app = App(proxy.dsn, pool_size=1)

    @app.task(name="t")
    def t() -> None: ...

    yield t
    app.close()


@pytest.fixture(params=["sync", "async"])
def enqueue(request: pytest.FixtureRequest, proxy: Proxy, task: Task[..., Any]) -> Iterator[Enqueue]:
    loop = asyncio.new_event_loop()

    def enqueue(count: int = 1, **options: Any) -> int:
        before = proxy.requests
        chosen = task.using(**options)
        if request.param == "sync":
            chosen.enqueue_many([{}] * count)
        else:
            loop.run_until_complete(chosen.aenqueue_many([{}] * count))
        return proxy.requests - before

    enqueue()  # now the pool has a connection
    yield enqueue
    loop.run_until_complete(task._store.aclose())
    loop.close()


@contextlib.contextmanager
def silence(proxy: Proxy) -> Iterator[None]:
    """Makes the existing connections silent. The silence ends by itself after SILENT_FOR seconds, so that even a wait without a time limit ends."""
    proxy.silent = NAME
    end = threading.Timer(SILENT_FOR, setattr, [proxy, "silent", None])
    end.start()
    try:
        yield
    finally:
        end.cancel()


def jobs(db: Connection[Any]) -> int:
    return db.execute("select count(*) from pgqueue.jobs").fetchone()[0]


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (1, {}),
        (1, {"queue": "mail", "delay": 5, "tags": ["x"]}),
        (1, {"unique_key": "k"}),
        (1, {"idempotency_key": "k"}),
        (1, {"throttle": 5, "unique_key": "k", "on_conflict": "raise"}),
        (3, {}),
        (150, {"expires": 60}),
    ],
)
def test_an_enqueue_in_one_statement_takes_one_round_trip(enqueue, db, count, options):
    assert enqueue(count, **options) == 1
    assert jobs(db) == 1 + count


def test_an_enqueue_takes_two_round_trips_if_another_job_has_its_unique_key(enqueue, db):
    enqueue(unique_key="k")
    assert enqueue(unique_key="k") == 2
    assert jobs(db) == 2


def test_jobs_that_are_stored_with_copy_are_stored_in_one_transaction(enqueue, proxy, db):
    assert enqueue(150) > 1
    proxy.cut_at = b"pgqueue.wake"  # the statement after the COPY
    with pytest.raises(psycopg.OperationalError):
        enqueue(150)
    assert jobs(db) == 151


def test_a_connection_that_was_idle_for_long_is_checked_before_its_use(enqueue, monkeypatch):
    monkeypatch.setattr(checks, "IDLE", -1.0)
    assert enqueue() == 2


def test_a_connection_that_the_server_ended_while_it_was_idle_is_replaced(enqueue, proxy, db):
    for done in range(2, 4):
        before = proxy.ended
        gone = db.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and application_name = %s",
            [NAME],
        )
        assert gone.fetchall()
        wait_until(lambda before=before: proxy.ended > before)  # before that, the client could not know it
        enqueue()
        assert jobs(db) == done


def test_a_connection_on_which_a_notification_has_arrived_is_checked_and_kept(enqueue, task, db):
    with task._store.pools.connection() as connection:
        connection.execute("listen news")
        pid = connection.info.backend_pid
    db.execute("notify news")
    wait_until(lambda: checks.has_arrived(connection))
    task.enqueue()
    assert jobs(db) == 2
    with task._store.pools.connection() as connection:
        assert connection.info.backend_pid == pid


def test_a_connection_that_fell_silent_while_it_was_idle_is_replaced(enqueue, proxy, db, monkeypatch):
    monkeypatch.setattr(checks, "IDLE", -1.0)
    monkeypatch.setattr(checks, "SILENCE", 0.3)
    begun = time.monotonic()
    with silence(proxy):
        enqueue()
    assert time.monotonic() - begun < 0.9 * SILENT_FOR, "the enqueue does not wait until the silence ends"
    assert jobs(db) == 2


def test_an_async_enqueue_whose_connection_falls_silent_raises_an_error(task, proxy, monkeypatch):
    monkeypatch.setattr(pools, "ANSWER", 0.3)

    async def scenario() -> None:
        await task.aenqueue()
        with silence(proxy), pytest.raises(CommitUnconfirmedError):
            await task.aenqueue()
        await task._store.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_caller_gets_a_transaction_although_an_enqueue_used_the_connection_in_autocommit(dsn, db, kind):
    app = App(dsn, pool_size=1)

    @app.task(name="t")
    def t() -> None: ...

    xact = "select pg_current_xact_id()::text"

    async def scenario() -> int:
        for _ in range(2):
            await t.aenqueue()
            async with app.aconnection() as connection:
                found = {await (await connection.execute(xact)).fetchone() for _ in range(2)}
        await app.aclose()
        return len(found)

    def transactions() -> int:
        for _ in range(2):
            t.enqueue()
            with app.connection() as connection:
                found = {connection.execute(xact).fetchone() for _ in range(2)}
        app.close()
        return len(found)

    assert (transactions() if kind == "sync" else asyncio.run(scenario())) == 1
    assert jobs(db) == 2
