"""An app takes its connections from pools. A ``with`` block on such a connection is one transaction, whatever its former users did."""

from __future__ import annotations

import asyncio
import random
import threading
from itertools import count
from typing import Any

import pytest
from psycopg import AsyncConnection, Connection, IsolationLevel
from psycopg.rows import dict_row

from pgqueue import App
from pgqueue.database import checks, pools
from pgqueue.worker.running.runner import Runner
from tests.factories import attempt
from tests.proxy import Proxy, proxy_to
from tests.runner_alone import played
from tests.waiting import wait_until

XACT = "select pg_current_xact_id()::text"


def test_a_caller_gets_one_transaction_wherever_the_former_caller_was_cancelled(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a call took long, psycopg lets the loop run other tasks at the end of the call. In this test, psycopg does so after every ``set_autocommit``."""
    set_autocommit = AsyncConnection.set_autocommit

    async def set_and_let_go_on(self: AsyncConnection[Any], value: bool) -> None:
        await set_autocommit(self, value)
        await asyncio.sleep(0)

    monkeypatch.setattr(AsyncConnection, "set_autocommit", set_and_let_go_on)
    # With this value, the pool checks the connection before each use. The check sets autocommit, too, so a caller is also cancelled during it.
    monkeypatch.setattr(checks, "IDLE", -1.0)
    app = App(dsn, pool_size=1)

    async def use() -> set[Any]:
        async with app.aconnection() as connection:
            return {await (await connection.execute(XACT)).fetchone() for _ in range(2)}

    async def cancel_at_each_step() -> int:
        await use()
        for steps in count():
            using = asyncio.create_task(use())
            for _ in range(steps):
                await asyncio.sleep(0)
            if not using.cancel():
                break
            await asyncio.wait([using])
            assert len(await use()) == 1, f"cancelled after {steps} steps"
        await app.aclose()
        return steps

    assert asyncio.run(cancel_at_each_step()) > 10


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_caller_that_sets_autocommit_does_not_change_it_for_the_next_caller(dsn: str, kind: str) -> None:
    app = App(dsn, pool_size=1)

    def transactions() -> int:
        with app.connection() as connection:
            return len({connection.execute(XACT).fetchone() for _ in range(2)})

    async def transactions_async() -> int:
        async with app.aconnection() as connection:
            await connection.set_autocommit(True)
        async with app.aconnection() as connection:
            found = {await (await connection.execute(XACT)).fetchone() for _ in range(2)}
        await app.aclose()
        return len(found)

    if kind == "async":
        assert asyncio.run(transactions_async()) == 1
    else:
        with app.connection() as connection:
            connection.autocommit = True
        assert transactions() == 1
    app.close()


def test_a_statement_that_still_runs_on_the_server_is_cancelled_if_its_caller_is_interrupted(
    dsn: str, db: Connection[Any]
) -> None:
    """Otherwise the statement would still be committed. If psycopg waits in C, an interruption comes after the answer. If it waits in Python, the interruption comes during the wait."""
    app = App(dsn)

    class Interruption(BaseException): ...

    def interrupted() -> None:
        with app.store.pools.connection(autocommit=True) as own:
            own.pgconn.send_query(b"insert into pgqueue.jobs (task) select 'late' from pg_sleep(2)")
            own.pgconn.flush()
            wait_until(lambda: db.execute(left).fetchall())
            raise Interruption

    left = "select from pg_stat_activity where query ~ 'pg_sleep' and pid <> pg_backend_pid() and state = 'active'"
    with pytest.raises(Interruption):
        interrupted()
    wait_until(lambda: not db.execute(left).fetchall())
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
    app.close()


def test_the_pool_loses_no_connection_if_a_handler_is_interrupted_while_it_waits_for_one(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "POOL_PATIENCE", 5.0)
    app = App(dsn, pool_size=1)
    ended = threading.Event()

    @app.task(name="wait")
    def wait() -> None:
        try:
            with app.connection():
                pass
        finally:
            ended.set()

    async def lose_the_waiting() -> None:
        runner = Runner(app, slots=1, executor="thread", app_path=None, crash_limit=3, done=lambda *_: None)
        with app.connection():
            runner.take([attempt(1, "wait")])
            await asyncio.to_thread(wait_until, lambda: is_waited_for(app))
            runner.lose()
        assert await asyncio.to_thread(ended.wait, 30)
        runner.close()

    asyncio.run(lose_the_waiting())
    with app.connection() as connection:
        assert connection.execute(XACT).fetchone()
    app.close()


def test_a_handler_that_waits_for_a_connection_is_still_ended_by_its_timeout(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(dsn, pool_size=1)

    @app.task(name="wait")
    def wait() -> None:
        with app.connection():
            pass

    with app.connection():
        outcome = played(app, [[attempt(1, "wait", timeout=0.05)]], executor="thread")[1]
    assert "longer than its timeout" in str(outcome.error)
    assert "abandoned" not in caplog.text
    app.close()


def is_waited_for(app: App) -> bool:
    pool = app.store.pools._sync
    return pool is not None and bool(pool.get_stats().get("requests_waiting"))


# ------------------------------------------------------------------ what a former user has changed


def change(connection: Any) -> None:
    """Changes what psycopg keeps on the client's side of a connection."""
    connection.read_only = True
    connection.isolation_level = IsolationLevel.SERIALIZABLE
    connection.row_factory = dict_row


async def achange(connection: Any) -> None:
    await connection.set_read_only(True)
    await connection.set_isolation_level(IsolationLevel.SERIALIZABLE)
    connection.row_factory = dict_row


def test_a_caller_gets_a_plain_connection_whatever_its_former_user_has_set(dsn: str) -> None:
    app = App(dsn, pool_size=1)

    @app.task(name="t")
    def t(n: int) -> None: ...

    async def scenario() -> None:
        async with app.aconnection() as connection:
            await achange(connection)
        assert len(await t.aenqueue_many([{"n": n} for n in range(150)])) == 150
        async with app.aconnection() as connection:
            assert await (await connection.execute("show transaction_isolation")).fetchone() == (
                "read committed",
            )
        await app.aclose()

    with app.connection() as connection:
        change(connection)
    assert len(t.enqueue_many([{"n": n} for n in range(150)])) == 150
    with app.connection() as connection:
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)
    asyncio.run(scenario())
    app.close()


# ------------------------------------------------------------------ cancelled async callers


def test_enqueues_that_are_cancelled_at_any_moment_lose_no_connection(dsn: str) -> None:
    """psycopg's pool loses a connection if a cancel comes while the connection is given back."""
    chance = random.Random(7)
    app = App(dsn, pool_size=1)

    @app.task(name="t")
    def t(n: int) -> None: ...

    async def scenario() -> None:
        await t.aenqueue(0)
        for n in range(60):
            callers = [asyncio.create_task(t.aenqueue(n)) for _ in range(8)]
            for _ in range(2):
                await asyncio.sleep(chance.random() * 0.004)
                for caller in callers:
                    if chance.random() < 0.7:
                        caller.cancel()
            await asyncio.wait(callers, timeout=20)
        async with asyncio.timeout(20):
            await t.aenqueue(1)
        await app.aclose()

    asyncio.run(scenario())


def test_a_cancel_that_comes_together_with_the_connection_is_not_lost(dsn: str) -> None:
    """On Python 3.11, ``asyncio.wait_for`` drops a cancel that comes in the same step as its result."""
    app = App(dsn, pool_size=1)

    async def scenario() -> None:
        async with app.aconnection():
            pass
        [mine] = app.store.pools._async.values()
        pool = mine.pool
        assert pool is not None
        connection = await pool.getconn()
        waiting = asyncio.create_task(holds(app))
        while not pool._waiting:
            await asyncio.sleep(0)
        await pool.putconn(connection)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 20)
        async with asyncio.timeout(20), app.aconnection():
            pass
        await app.aclose()

    asyncio.run(scenario())


def test_a_loop_ends_without_aclose_while_its_pool_opens_a_connection(dsn: str) -> None:
    """asyncio.run cancels all tasks at the end. psycopg's pool takes such a cancel for a failed connection, and goes on."""

    async def scenario(app: App, proxy: Proxy) -> None:
        async with app.aconnection():
            [mine] = app.store.pools._async.values()
            assert mine.pool is not None
            proxy.answers = False
            waiting = asyncio.create_task(holds(app))
            while mine.pool.get_stats()["connections_num"] < 2:
                await asyncio.sleep(0)
            assert not waiting.done()
            proxy.answers = True

    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn, pool_size=2)
        running = threading.Thread(target=asyncio.run, args=[scenario(app, proxy)], daemon=True)
        running.start()
        running.join(20)
        assert not running.is_alive()
        app.close()


def test_the_pool_serves_callers_after_all_tasks_of_its_loop_were_cancelled(
    dsn: str, db: Connection[Any]
) -> None:
    """A handler can cancel all tasks that asyncio lists. And at the end of a loop, cancelled tasks can still enqueue before they end."""
    app = App(dsn)

    @app.task(name="t")
    def t() -> None: ...

    async def last() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await t.aenqueue()

    async def scenario() -> None:
        await t.aenqueue()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)
        await t.aenqueue()
        ending.append(asyncio.create_task(last()))
        await asyncio.sleep(0)

    ending: list[asyncio.Task[None]] = []
    asyncio.run(scenario())
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (3,)
    app.close()


async def holds(app: App) -> None:
    async with app.aconnection():
        await asyncio.sleep(3600)
