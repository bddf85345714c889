"""What a handler writes in a replay is shown and rolled back, whichever connections the handler uses."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from pgqueue import App, Job
from pgqueue.worker.replay import psycopg_sessions, replay
from tests.stages.own_connections import ALL, Shop, url_of
from tests.stages.replays import everything, of, replayed, written


@pytest.mark.parametrize("way", ALL)
def test_a_transaction_on_each_driver_is_shown_and_rolled_back(app, db, dsn, way) -> None:
    shop = Shop(app, db, way, dsn)
    job_id = shop.pay.enqueue().id
    before = everything(db)
    findings = replayed(app, db, job_id)
    assert (findings.ended, findings.value, findings.error) == ("completed", '{"paid":1}', None)
    assert everything(db) == before
    [session] = findings.sessions
    assert session.note == ""
    written = {write.table: write for write in session.writes}
    assert (written["effects"].inserted, written["effects"].rows) == (1, [{"n": 1}])
    assert (written["jobs_live"].inserted, written["jobs_live"].rows[0]["task"]) == (1, "tell")
    assert [one.rows for one in findings.statements if "effects" in one.text] == [
        None if way == "async a pool of asyncpg" else 1
    ]


# ------------------------------------------------------------------ the connections of the app


@pytest.mark.usefixtures("effects")
def test_a_block_sees_what_the_blocks_before_it_have_committed(app: App, db: Connection[Any]) -> None:
    seen: list[Any] = []

    def handler() -> str:
        with app.connection() as connection:
            connection.execute("insert into public.effects values (1, 'first'), (2, 'second')")
        with contextlib.suppress(ZeroDivisionError), app.connection() as connection:
            connection.execute("delete from public.effects")
            raise ZeroDivisionError
        with app.connection() as connection:
            connection.execute("update public.effects set note = 'changed' where n = 2")
            seen.append(connection.execute("select note from public.effects order by n").fetchall())
        return "done"

    findings = of(app, db, handler)
    assert (findings.ended, findings.state, findings.value) == ("returned", "completed", '"done"')
    assert seen == [[("first",), ("changed",)]]
    assert written(findings)["effects"] == [{"n": 1, "note": "first"}, {"n": 2, "note": "changed"}]
    assert [(one.rows, one.text.split()[0]) for one in findings.statements] == [
        (2, "insert"), (2, "delete"), (1, "update"), (2, "select"),
    ]  # fmt: skip


@pytest.mark.usefixtures("effects")
def test_an_async_handler_has_its_own_rolled_back_connection(app: App, db: Connection[Any]) -> None:
    async def put(n: int) -> None:
        async with app.aconnection() as connection:
            await connection.execute("insert into public.effects values (%s)", [n])
            await asyncio.sleep(0.01)
            if n == 2:
                await connection.rollback()
            if n == 3:
                await connection.commit()
                await connection.execute("insert into public.effects values (30)")
                await connection.rollback()

    async def handler() -> None:
        await asyncio.gather(*(put(n) for n in range(1, 5)))

    findings = of(app, db, handler)
    assert findings.ended == "returned", findings.traceback
    assert sorted(row["n"] for row in written(findings)["effects"]) == [1, 3, 4]


@pytest.mark.usefixtures("effects")
def test_commits_and_rollbacks_in_a_block_act_on_its_savepoint(app: App, db: Connection[Any]) -> None:
    def handler() -> None:
        with app.connection() as connection:
            connection.execute("insert into public.effects values (1)")
            connection.commit()
            connection.execute("insert into public.effects values (2)")
            connection.rollback()
            with connection.transaction():
                connection.execute("insert into public.effects values (3)")

    assert [row["n"] for row in written(of(app, db, handler))["effects"]] == [1, 3]


@pytest.mark.parametrize(
    "command", ["commit", "rollback", "end", "commit; insert into public.effects values (2)"]
)
@pytest.mark.usefixtures("effects")
def test_a_commit_that_the_handler_sends_as_a_statement_commits_nothing(
    app: App, db: Connection[Any], command: str
) -> None:
    def handler() -> None:
        for _ in range(2):
            with app.connection() as connection:
                connection.execute("insert into public.effects values (1)")
                for text in (command, "insert into public.effects values (3)", "commit"):
                    try:
                        connection.execute(text.encode())
                    except Exception as error:  # noqa: BLE001
                        caught.append(error)

    caught: list[Exception] = []
    findings = of(app, db, handler)
    assert "has ended the transaction itself" in str(findings.error)
    assert caught
    assert (replay.REFUSED in findings.notes) is ("commit" in command or command == "end")


@pytest.mark.parametrize("way", ALL)
def test_a_deferred_constraint_fails_at_the_end_of_a_block_as_at_a_commit(app, db, dsn, way) -> None:
    db.execute("create table public.parents (n int primary key)")
    db.execute("create table public.effects (n int references public.parents deferrable initially deferred)")
    shop = Shop(app, db, way, dsn)
    job_id = shop.pay.enqueue().id
    before = everything(db)
    findings = replayed(app, db, job_id)
    assert everything(db) == before
    assert findings.ended == "raised"
    assert "violates foreign key constraint" in str(findings.error)


@pytest.mark.usefixtures("effects")
def test_jobs_that_the_handler_enqueues_in_any_way_are_rolled_back(app: App, db: Connection[Any]) -> None:
    tell = app.task(name="tell")(lambda: None)

    def handler(job: Job) -> None:
        db.execute("listen pgqueue")
        tell.enqueue()
        tell.using(unique_key="k").enqueue()
        tell.enqueue_many([{}] * 1000)
        with job.transaction() as connection:
            tell.using(connection).enqueue()
            tell.enqueue()

    findings = of(app, db, handler)
    assert findings.ended == "completed", findings.traceback
    [write] = [
        write for session in findings.sessions for write in session.writes if write.table == "jobs_live"
    ]
    assert (write.inserted, len(write.rows)) == (1004, psycopg_sessions.MOST_ROWS)
    assert list(db.notifies(timeout=0.2)) == []


@pytest.mark.usefixtures("effects")
def test_threads_of_the_handler_take_turns(app: App, db: Connection[Any]) -> None:
    def put(n: int) -> None:
        with app.connection() as connection:
            connection.execute("insert into public.effects values (%s)", [n])
            time.sleep(0.02)

    def handler() -> None:
        threads = [threading.Thread(target=put, args=[n]) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(written(of(app, db, handler))["effects"]) == 4


@pytest.mark.usefixtures("effects")
def test_a_thread_that_waits_for_the_block_in_which_it_was_started_gets_an_error(
    app: App, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.worker.replay.turns.PATIENCE", 0.1)
    caught: list[Exception] = []

    def enqueue() -> None:
        try:
            app.tasks["t"].enqueue()
        except Exception as error:  # noqa: BLE001
            caught.append(error)

    def handler() -> None:
        with app.connection():
            thread = threading.Thread(target=enqueue)
            thread.start()
            thread.join()

    of(app, db, handler)
    assert "take turns" in str(caught[0])


# ------------------------------------------------------------------ connections of the handler


@pytest.mark.parametrize("driver", ["psycopg", "a session"])
@pytest.mark.usefixtures("effects")
def test_a_connection_that_the_handler_opens_itself_can_read_but_not_write(
    app: App, db: Connection[Any], dsn: str, driver: str
) -> None:
    engine = create_engine(url_of(dsn, "psycopg"))
    with (
        engine.connect() as connection
    ):  # it stays in the pool of the engine, as if it was opened by the import of the app
        connection.execute(text("select 1"))

    def handler() -> None:
        if driver == "psycopg":
            with psycopg.connect(dsn) as connection:
                assert connection.execute("select count(*) from public.effects").fetchone() == (0,)
                connection.execute("insert into public.effects values (1)")
        else:
            with Session(engine) as session:
                assert session.scalar(text("select count(*) from public.effects")) == 0
                session.execute(text("insert into public.effects values (1)"))
                session.commit()

    findings = of(app, db, handler)
    engine.dispose()
    assert "read-only transaction" in str(findings.error)
    assert replay.READ_ONLY in findings.notes


@pytest.mark.parametrize("call", ["commit", "rollback"])
@pytest.mark.parametrize("kind", ["engine", "session"])
@pytest.mark.usefixtures("effects")
def test_a_commit_or_rollback_in_a_block_of_sqlalchemy_is_refused_as_in_a_worker(
    app: App, db: Connection[Any], dsn: str, kind: str, call: str
) -> None:
    engine = create_engine(url_of(dsn, "psycopg"))

    def handler(job: Job) -> None:
        with job.transaction(using=engine if kind == "engine" else sessionmaker(engine)) as given:
            given.execute(text("insert into public.effects values (1)"))
            getattr(given, call)()
            given.execute(text("insert into public.effects values (2)"))

    findings = of(app, db, handler)
    engine.dispose()
    assert "WrongConnectionError" in str(findings.error)
    assert "has ended the transaction" in str(findings.error)


# ------------------------------------------------------------------ which jobs


@pytest.mark.usefixtures("effects")
def test_rows_of_large_tables_are_counted_and_not_read(
    app: App, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psycopg_sessions, "MOST_BYTES", 0)

    def handler() -> None:
        with app.connection() as connection:
            connection.execute("insert into public.effects values (1)")

    [write] = of(app, db, handler).sessions[0].writes
    assert (write.inserted, write.rows, write.note) == (1, [], "large")
