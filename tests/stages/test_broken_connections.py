"""An app's pool is full of connections that broke while they were idle. The next caller gets one that works, without long waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import psycopg
import pytest
from psycopg import Connection, Error
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from psycopg_pool.base import AttemptWithBackoff

from pgqueue import App
from pgqueue.database import checks, pools
from pgqueue.errors import DatabaseUnreachableError, PgQueueError, PoolExhaustedError
from pgqueue.sql import grants
from tests.proxy import Proxy, proxy_to
from tests.waiting import wait_until

SIZE = 10
CUT = (
    "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
    " where datname = current_database() and application_name = 'pgqueue app'"
)


class User:
    """Uses an app's pool, from a sync or an async program."""

    def __init__(self, dsn: str, kind: str, size: int = SIZE) -> None:
        self.app, self.kind, self.size = App(dsn, pool_size=size), kind, size
        self.loop = asyncio.new_event_loop()
        self.task = self.app.task(name="t")(lambda: None)

    def fill(self) -> None:
        """Makes the pool open all its connections, and uses each of them."""

        async def fill() -> None:
            async with AsyncExitStack() as stack:
                for _ in range(self.size):
                    await stack.enter_async_context(self.app.aconnection())

        if self.kind == "async":
            self.loop.run_until_complete(fill())
            return
        with ExitStack() as stack:
            for _ in range(self.size):
                stack.enter_context(self.app.connection())

    def enqueue(self) -> float:
        """Enqueues a job. Returns the seconds that this took."""
        begun = time.monotonic()
        if self.kind == "async":
            self.loop.run_until_complete(self.task.aenqueue())
        else:
            self.task.enqueue()
        return time.monotonic() - begun

    def lose_one(self, lose: Callable[[], None]) -> None:
        """Calls ``lose``, which breaks all connections, while it uses one of them."""

        async def use() -> None:
            async with self.app.aconnection() as connection:
                lose()
                await connection.execute("select 1")

        with contextlib.suppress(Error, PgQueueError):
            if self.kind == "async":
                self.loop.run_until_complete(use())
            else:
                with self.app.connection() as connection:
                    lose()
                    connection.execute("select 1")

    def idle(self, seconds: float) -> None:
        if self.kind == "async":
            self.loop.run_until_complete(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)

    def close(self) -> None:
        self.loop.run_until_complete(self.app.aclose())
        self.loop.close()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def using(kind: str) -> Iterator[Callable[..., User]]:
    with ExitStack() as stack:

        def start(dsn: str, size: int = SIZE) -> User:
            return stack.enter_context(contextlib.closing(User(dsn, kind, size)))

        yield start


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


class Away:
    """Lets the server refuse all connections to the database, as if it did not run."""

    def __init__(self, admin: str, dsn: str) -> None:
        self._admin, self._name = admin, conninfo_to_dict(dsn)["dbname"]

    def begin(self) -> None:
        self._run(
            f"alter database {self._name} allow_connections false",
            f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{self._name}'",
        )

    def end(self) -> None:
        self._run(f"alter database {self._name} allow_connections true")

    def _run(self, *commands: str) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection:
            for command in commands:
                connection.execute(command.encode())


@pytest.fixture
def away(admin: str, dsn: str) -> Away:
    return Away(admin, dsn)


def test_an_enqueue_takes_no_pauses_after_the_server_ended_all_connections_of_the_pool(using, dsn, db):
    user = using(dsn)
    user.fill()
    assert len(db.execute(CUT).fetchall()) == SIZE
    assert user.enqueue() < 1.0
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)
    user.fill()  # the pool has lost no connection


def test_an_enqueue_waits_for_only_one_of_the_connections_that_fell_silent(using, proxy, monkeypatch):
    monkeypatch.setattr(checks, "IDLE", -1.0)
    monkeypatch.setattr(checks, "SILENCE", 0.5)
    user = using(proxy.dsn)
    user.fill()
    proxy.silent = "pgqueue app"
    assert user.enqueue() < 1.5
    user.fill()


@pytest.mark.parametrize("limit", ["300ms", "2s"])
def test_each_enqueue_succeeds_without_pauses_although_the_role_has_an_idle_session_timeout(
    using, role, db, limit
):
    dsn = role(grants("worker"))
    name = conninfo_to_dict(dsn)["user"]
    db.execute(f"alter role {name} set idle_session_timeout = '{limit}'")
    user = using(dsn, 3)
    for done in range(1, 4):
        user.fill()
        wait_until(lambda: not sessions(db))
        assert user.enqueue() < 0.9
        assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (done,)


def test_new_connections_that_never_work_are_tried_with_pauses_until_the_time_is_up(using, dsn, monkeypatch):
    """Otherwise the callers would make connections as fast as the server can."""
    monkeypatch.setattr(pools, "POOL_PATIENCE", 2.0)
    user = using(dsn)
    user.enqueue()
    tried = []

    def refuse(connection: Any, **options: Any) -> bytes:
        tried.append(connection)
        return b"select 1 / 0"

    monkeypatch.setattr(checks, "change_of_limit", refuse)
    begun = time.monotonic()
    with pytest.raises(PoolExhaustedError):
        user.enqueue()
    assert 2.0 <= time.monotonic() - begun < 4.0
    assert len(set(tried)) == len(tried) < 12, "each was replaced"


def test_an_enqueue_fails_with_the_reason_and_in_time_if_the_server_is_gone(using, dsn, proxy, monkeypatch):
    monkeypatch.setattr(pools, "POOL_PATIENCE", 2.0)
    user = using(proxy.dsn)
    user.fill()
    proxy.close()
    begun = time.monotonic()
    with pytest.raises(DatabaseUnreachableError):
        user.enqueue()
    assert 2.0 <= time.monotonic() - begun < 4.0


@pytest.fixture
def tried(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which the pools try to make a connection. Their pauses have a fifth of the usual length."""
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 0.2)
    monkeypatch.setattr(pools, "RECONNECTING", pools.RECONNECTING / 5)
    times: list[float] = []
    pool = ConnectionPool if kind == "sync" else AsyncConnectionPool
    connect = pool._connect

    def noted(self: Any, *given: Any, **named: Any) -> Any:
        times.append(time.monotonic())
        return connect(self, *given, **named)

    monkeypatch.setattr(pool, "_connect", noted)
    return times


def test_a_caller_gets_a_connection_soon_after_the_server_is_back_however_long_it_was_away(
    using, dsn, away, tried
):
    user = using(dsn)
    user.fill()
    away.begin()
    back = threading.Timer(1.7, away.end)
    begun = time.monotonic()
    back.start()
    assert 1.7 <= user.enqueue() < 2.4
    late = [one for one in tried if one > begun + 1.0]
    assert len(late) < 8, "about one try for each pause"
    user.fill()


def test_a_caller_gets_a_connection_soon_after_the_server_is_back_if_it_went_away_while_the_pool_opened(
    using, dsn, away, tried, monkeypatch
):
    monkeypatch.setattr(pools, "prepare_threshold", lambda _: 5)
    user = using(dsn)
    away.begin()
    threading.Timer(1.7, away.end).start()
    assert 1.7 <= user.enqueue() < 2.4


def test_a_pool_without_callers_does_not_try_again_and_again_to_reach_a_server_that_is_gone(
    using, dsn, away, tried
):
    user = using(dsn)
    user.fill()
    user.lose_one(away.begin)
    user.idle(0.8)
    tried.clear()
    user.idle(1.0)
    assert tried == []
    away.end()
    assert user.enqueue() < 1.0
    user.fill()


def sessions(db: Connection[Any]) -> list[Any]:
    return db.execute(CUT.replace("pg_terminate_backend(pid, 10000)", "pid")).fetchall()
