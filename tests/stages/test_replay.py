"""A replay calls the handler of a job with connections that are never committed. It shows what the handler did, and leaves no row behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from pgqueue import App, Job, Snooze
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidArgumentsError, MissingPrivilegeError, UnknownTaskError
from pgqueue.sql import grants
from pgqueue.worker.replay import psycopg_sessions, replay
from pgqueue.worker.replay.findings import Findings
from pgqueue.worker.replay.replay import Replay
from tests.factories import add_jobs, look
from tests.stages.test_own_transactions import ALL, Shop, url_of
from tests.worker_by_hand import Hand


def replayed(app: App, db: Connection[Any], job_id: int, **options: Any) -> Findings:
    job = run(db, statements.get_replayed(job_id))
    assert job is not None
    return Replay(app, job, run(db, statements.load_checkpoints([job_id]))[job_id], **options).run()


def everything(db: Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Returns all rows of all tables of the database, with the transaction that has written each of them."""
    tables = db.execute(
        "select schemaname, tablename from pg_tables where schemaname in ('pgqueue', 'public') order by 1, 2"
    ).fetchall()
    found = {}
    for name in tables:
        text = sql.SQL("select t.xmin::text, t.xmax::text, t::text from only {} t order by 3").format(
            sql.Identifier(*name)
        )
        found[".".join(name)] = db.execute(text).fetchall()
    return found


@pytest.fixture
def effects(db: Connection[Any]) -> None:
    db.execute("create table public.effects (n int primary key, note text)")


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


def written(findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows that the findings shows, by the names of their tables."""
    return {write.table: write.rows for session in findings.sessions for write in session.writes}


def of(app: App, db: Connection[Any], handler: Callable[..., Any], **options: Any) -> Findings:
    """Declares the handler as the task ``t``, enqueues a job, replays it, and checks that no table has changed."""
    app.task(name="t", retry=[0.0, 0.0])(handler)
    job_id = app.tasks["t"].enqueue().id
    before = everything(db)
    findings = replayed(app, db, job_id, **options)
    assert everything(db) == before
    return findings


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


# ------------------------------------------------------------------ steps


def note(n: int) -> int:
    CALLED.append(n)
    return n


async def anote(n: int) -> int:
    return note(n)


CALLED: list[int] = []


def with_steps(app: App, db: Connection[Any], handler: Callable[..., Any]) -> int:
    """Enqueues a job of the handler, and stores the value 10 for its step ``a``, and 5 as its saved place, as its first attempt did."""
    from pgqueue.model.step_values import fingerprint
    from pgqueue.model.steps import CURSOR, Checkpoint

    CALLED.clear()
    app.task(name="t", retry=[0.0, 0.0])(handler)
    app.tasks["t"].enqueue()
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    made = Checkpoint("step", "a", "", fingerprint((1,), {}), "10")
    run(db, statements.store_checkpoints([(hand.id, attempt.id, attempt.lease_id, made)]))
    run(db, statements.save_cursor(hand.id, attempt.id, attempt.lease_id, "5"))
    assert CURSOR
    return attempt.id


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("run_steps", [False, True])
@pytest.mark.usefixtures("effects")
def test_stored_steps_are_returned_and_the_first_other_one_ends_the_replay(
    app: App, db: Connection[Any], is_async: bool, run_steps: bool
) -> None:
    def book(connection: Any, n: int) -> int:
        connection.execute("insert into public.effects values (%s)", [n])
        return n

    async def abook(connection: Any, n: int) -> int:
        await connection.execute("insert into public.effects values (%s)", [n])
        return n

    def handler(job: Job) -> list[Any]:
        place = job.saved
        job.save(place + 1)
        first, second = job.step("a", note, 1), job.step_transaction(("b", 2), book, 7)
        return [place, job.saved, first, second, job.step("c", note, 3), job.step(("d", 4), lambda: 4)]

    async def ahandler(job: Job) -> list[Any]:
        place = await job.asaved()
        await job.asave(place + 1)
        first, second = await job.astep("a", anote, 1), await job.astep_transaction(("b", 2), abook, 7)
        third = await job.astep("c", note, 3)
        return [place, await job.asaved(), first, second, third, await job.astep(("d", 4), lambda: 4)]

    job_id = with_steps(app, db, ahandler if is_async else handler)
    before = everything(db)
    findings = replayed(app, db, job_id, run_steps=run_steps)
    assert everything(db) == before
    how = [("pgqueue.saved" if one.how == "saved" else one.name, one.key, one.how) for one in findings.steps]
    assert how[:3] == [("pgqueue.saved", "6", "saved"), ("a", "", "stored"), ("b", "2", "called")]
    assert written(findings) == {"effects": [{"n": 7, "note": None}]}
    if run_steps:
        assert (findings.ended, findings.value, CALLED) == ("returned", "[5,6,10,7,3,4]", [3])
    else:
        assert (findings.ended, findings.sentence) == (
            "stopped", "The replay ended where the handler would call note(3).",
        )  # fmt: skip
        assert (findings.state, findings.error, CALLED) == (None, None, [])
        assert replay.RUN_STEPS in findings.notes


def test_a_handler_that_catches_everything_cannot_go_on_behind_a_step(app: App, db: Connection[Any]) -> None:
    def handler(job: Job) -> str:
        for n in range(3):
            try:
                job.step(("n", n), note, n)
            except BaseException:  # noqa: BLE001
                continue
        try:
            app.tasks["t"].enqueue()
        except BaseException as error:  # noqa: BLE001
            return type(error).__name__
        return "enqueued"

    findings = of(app, db, handler)
    assert findings.sentence == "The replay ended where the handler would call note(0)."
    assert findings.sessions == []


def test_parallel_steps_without_values_are_all_named(app: App, db: Connection[Any]) -> None:
    async def handler(job: Job) -> None:
        await asyncio.gather(*(job.astep(("n", n), anote, n) for n in range(3)), return_exceptions=True)

    findings = of(app, db, handler)
    assert findings.ended == "stopped"
    assert "would call anote(0)" in findings.sentence


@pytest.mark.parametrize("twin", [False, True])
def test_a_sleep_or_a_wait_that_is_not_over_ends_the_replay(
    app: App, db: Connection[Any], twin: bool
) -> None:
    def handler(job: Job) -> None:
        job.wait_for("approved", "refused")

    async def ahandler(job: Job) -> None:
        await job.asleep("nap", "1h")

    findings = of(app, db, ahandler if twin else handler)
    said = "would sleep for 3600.0 s" if twin else "would wait for the signal 'approved' or 'refused'"
    assert (findings.ended, said in findings.sentence) == ("stopped", True)


def test_a_wait_for_another_job_ends_the_replay(app: App, db: Connection[Any]) -> None:
    def handler() -> None:
        app.tasks["t"].enqueue().result(timeout=60)

    findings = of(app, db, handler)
    assert (findings.ended, "would wait for the end of job" in findings.sentence) == ("stopped", True)


# ------------------------------------------------------------------ how the handler ends


def test_an_error_is_shown_with_its_traceback_and_what_a_worker_would_do(
    app: App, db: Connection[Any]
) -> None:
    def handler(job: Job) -> None:
        job.progress(3, 10, "counting")
        logging.getLogger("shop").info("counted %s", 3)
        msg = "no\x1b[31m money"
        raise ValueError(msg)

    findings = of(app, db, handler)
    assert (findings.ended, findings.state, findings.reason) == ("raised", "retrying", "failed")
    assert findings.error == "ValueError: no\x1b[31m money"
    assert "in handler" in str(findings.traceback)
    assert findings.progress["done"] == 3
    assert [(line.level, line.logger, line.text) for line in findings.log] == [("INFO", "shop", "counted 3")]


def test_sys_exit_and_instructions_are_outcomes(app: App, db: Connection[Any]) -> None:
    findings = of(app, db, lambda: sys.exit(3))
    assert (findings.ended, findings.error) == ("raised", "SystemExit: 3")

    @app.task(name="later")
    async def later() -> Snooze:
        return Snooze(60)

    findings = replayed(app, db, later.enqueue().id)
    assert (findings.state, findings.reason, findings.delay) == ("pending", "snoozed", 60)


def deaf() -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and not DEAF.is_set():
        try:
            time.sleep(0.05)
        except BaseException:  # noqa: BLE001
            continue


async def endless() -> None:
    await asyncio.sleep(60)


async def blocking() -> None:
    time.sleep(1.2)


def querying(app: App) -> Callable[[], None]:
    def query() -> None:
        with app.connection() as connection:
            connection.execute("select pg_sleep(60)")

    return query


DEAF = threading.Event()


@pytest.mark.parametrize("kind", ["sleep", "query", "endless", "blocking", "deaf"])
def test_a_handler_that_hangs_is_stopped(
    app: App, db: Connection[Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DEAF.clear()
    handlers = {"sleep": lambda: [time.sleep(0.05) for _ in range(1000)], "query": querying(app), "endless": endless, "blocking": blocking, "deaf": deaf}  # fmt: skip
    begun = time.monotonic()
    findings = of(app, db, handlers[kind], limit=0.5)
    assert time.monotonic() - begun < 10
    assert (findings.ended, findings.sentence) == ("timed out", "The handler was stopped after 0.5 s.")
    assert ("pgqueue replay" in findings.unended) is (kind == "deaf")
    assert kind not in str(findings.traceback) or findings.traceback
    DEAF.set()


def test_a_thread_that_outlives_the_handler_is_named_and_can_write_nothing(
    app: App, db: Connection[Any]
) -> None:
    caught: list[BaseException] = []
    over = threading.Event()

    def late() -> None:
        over.wait(20)
        try:
            app.tasks["t"].enqueue()
        except BaseException as error:  # noqa: BLE001
            caught.append(error)

    thread = threading.Thread(target=late, name="late")
    findings = of(app, db, thread.start)
    assert findings.unended == ["late"]
    over.set()
    thread.join()


# ------------------------------------------------------------------ which jobs


@pytest.mark.parametrize("state", ["dead", "completed", "cancelled", "pending", "retrying"])
def test_jobs_in_each_state_are_replayed(app: App, db: Connection[Any], state: str) -> None:
    seen: list[Any] = []

    @app.task(name="t")
    def handler(job: Job, n: int) -> None:
        seen.append((job.attempt, n, job.tags))

    [job_id] = add_jobs(db, args='{"n": 7}', tags=["x"])
    final = state in ("dead", "completed", "cancelled")
    if final:
        table = "jobs_dead" if state == "dead" else "jobs_done"
        db.execute(
            f"with gone as (delete from pgqueue.jobs_live returning id, task, args, tags) insert into pgqueue.{table} (id, task, args, tags, queue, state,"
            " run_at, created_at, finished_at, attempt, deadline_at) select id, task, args, tags, 'default', %s, now(), now(), now(), 3, now() - interval '1 hour' from gone".encode(),
            [state],
        )
    else:
        db.execute("update pgqueue.jobs_live set state = %s, attempt = 3, expires_at = now() - interval '1 hour'", [state])  # fmt: skip
    before = everything(db)
    findings = replayed(app, db, job_id)
    assert (findings.ended, everything(db) == before) == ("returned", True)
    assert seen == [(3 if final else 4, 7, ("x",))]


@pytest.mark.usefixtures("effects")
def test_a_worker_that_runs_the_job_at_the_same_time_does_not_wait_for_the_replay(
    app: App, db: Connection[Any]
) -> None:
    def handler(job: Job) -> None:
        with job.transaction() as connection:
            connection.execute("insert into public.effects values (1)")
            job.step_transaction("a", lambda connection: 1)
            job.save(1, using=connection)
            db.execute("set lock_timeout = '2s'")
            made = Checkpoint("step", "a", "", None, "1")
            run(db, statements.store_checkpoints([(hand.id, job.id, job.lease_id, made)]))
            run(db, statements.save_cursor(hand.id, job.id, job.lease_id, "1"))
            settled.extend(run(db, statements.complete(hand.id, [(job.id, job.lease_id, True)])))

    from pgqueue.model.steps import Checkpoint

    settled: list[int] = []
    app.task(name="t")(handler)
    job_id = app.tasks["t"].enqueue().id
    hand = Hand(db, ["t"])
    hand.claim()
    findings = replayed(app, db, job_id)
    assert (findings.ended, settled) == ("completed", [job_id]), findings.traceback
    assert look(db, job_id) == "completed"


HOOKED = """{"job": {"id": 5, "queue": "q", "task": "hooked", "state": "completed", "priority": 0, "run_at": "2026-01-01T00:00:00Z",
    "attempt": 1, "max_attempts": 1, "lease_id": 1, "created_at": "2026-01-01T00:00:00Z"}, "reason": "completed"}"""


def test_a_chunk_of_one_and_the_job_of_a_hook_are_replayed(app: App, db: Connection[Any]) -> None:
    seen: list[Any] = []

    @app.task(name="together", chunk=10)
    def together(jobs: list[Job]) -> list[int]:
        return [job.id for job in jobs]

    @app.task(name="hooked")
    async def hooked() -> None: ...

    @hooked.on_completed
    def told(job: Job) -> None:
        seen.append(job.id)

    job_id = together.enqueue().id
    assert replayed(app, db, job_id).value == str(job_id)
    db.execute(
        "insert into pgqueue.jobs_live (task, stored_by_pgqueue, args) values ('hooked:on_completed', true, %s)",
        [HOOKED],
    )
    [(job_id,)] = db.execute("select id from pgqueue.jobs_live where stored_by_pgqueue")
    assert replayed(app, db, job_id).ended == "returned"
    assert seen == [5]


def test_a_job_that_the_app_cannot_run_is_refused_before_anything_is_called(
    app: App, db: Connection[Any], role: Callable[..., str]
) -> None:
    [unknown] = add_jobs(db, task="elsewhere")
    with pytest.raises(UnknownTaskError, match="elsewhere"):
        replayed(app, db, unknown)

    @app.task(name="t")
    def handler(n: int) -> None:
        raise AssertionError

    [wrong] = add_jobs(db, args='{"n": "seven"}')
    with pytest.raises(InvalidArgumentsError, match="do not fit task t"):
        replayed(app, db, wrong)
    [right] = add_jobs(db, args='{"n": 1}')
    enqueuer = App(role(grants("enqueuer")))
    enqueuer.task(name="t")(lambda n: None)
    with pytest.raises(MissingPrivilegeError):
        replayed(enqueuer, db, right)
    enqueuer.close()


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
