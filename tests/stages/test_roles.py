"""A role with exactly the rights that `pgq db grants` prints can do its own work, and everything else is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from pgqueue import App, Dead, Job, Retry
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import MissingPrivilegeError
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.outcome import Outcome
from pgqueue.model.suspension import Request
from pgqueue.sql import grants
from pgqueue.ui.cli.commands import root
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until
from tests.worker_by_hand import Hand


def denied(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def pgq(dsn: str, *words: str) -> Any:
    return CliRunner().invoke(root(), [*words, "--dsn", dsn])


# ------------------------------------------------------------------ roles that enqueue


def test_an_enqueuer_enqueues_in_every_way(granted, db):
    app = App(granted("enqueuer"))

    @app.task(name="t")
    def task(n: int = 0) -> None: ...

    task.enqueue(n=1)
    task.using(
        queue="mail", delay=5, tags=["a"], meta={"a": 1}, concurrency_key="c", ordering="block", weight=2
    ).enqueue()
    task.using(unique_key="k", expires=60, deadline=90).enqueue()
    assert not task.using(unique_key="k").enqueue().created
    assert task.using(unique=["n"], unique_for=60).enqueue(n=3).created
    for count in (3, 300):
        assert len(task.enqueue_many([{"n": n} for n in range(count)])) == count

    async def on_a_loop() -> None:
        await task.aenqueue(n=2)
        await task.aenqueue_many([{"n": n} for n in range(300)])
        await app.aclose()

    asyncio.run(on_a_loop())
    app.close()
    with psycopg.connect(granted("enqueuer"), autocommit=True) as connection:
        connection.execute("insert into pgqueue.jobs (task, args, queue) values ('t', '{}', 'mail')")
        connection.execute(
            "select * from pgqueue.enqueue('t', '{\"n\": 9}', '{\"unique\": true, \"expires\": 60}')"
        )
        connection.execute("select pgqueue.wake('mail')")
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (5 + 303 + 301 + 2 - 1,)


def test_an_enqueuer_gets_the_unique_key_of_an_expired_job_without_the_right_to_change_jobs(granted, db):
    with psycopg.connect(granted("enqueuer"), autocommit=True) as connection:
        for _ in range(2):
            db.execute("update pgqueue.jobs_live set expires_at = now() - interval '1 s'")
            [(created,)] = connection.execute(
                "select created from pgqueue.enqueue('t', '{}', '{\"unique_key\": \"k\"}')"
            ).fetchall()
            assert created
        connection.execute("insert into pgqueue.jobs (task, expires_at) values ('x', now() + interval '1 h')")
        connection.execute(
            "select from pgqueue.finish_overdue(array(select id from pgqueue.jobs_live), 'infinity')"
        )
    assert db.execute("select task, state from pgqueue.jobs order by id").fetchall() == [
        ("t", "cancelled"), ("t", "pending"), ("x", "pending"),
    ]  # fmt: skip


def test_an_enqueuer_sends_signals_to_jobs_that_it_cannot_read(granted, db):
    [(job_id,)] = db.execute("insert into pgqueue.jobs (task) values ('t') returning id").fetchall()
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    outcome = Outcome.suspended((Request("wait", "wait:go", "", None, ("go",)),))
    run(db, statements.suspend(hand.id, [(attempt.id, attempt.lease_id, outcome)]))
    dsn = granted("enqueuer")
    assert App(dsn).handle(job_id).signal("go", {"by": "ann"}, key="k", sender="ann") == "sent"
    assert db.execute("select state from pgqueue.jobs_live").fetchone() == ("pending",)
    denied(
        dsn, "select * from pgqueue.signals", "insert into pgqueue.signals (job_id, name) values (1, 'go')"
    )


def test_an_operator_moves_the_end_of_a_sleep(granted, db):
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    outcome = Outcome.suspended((Request("sleep", "nap", "", 3600.0),))
    run(db, statements.suspend(hand.id, [(attempt.id, attempt.lease_id, outcome)]))
    App(granted("operator")).handle(attempt.id).edit(delay=0)
    moved = "select (c.value ->> 'until')::timestamptz = j.run_at from pgqueue.checkpoints c join pgqueue.jobs j on j.id = c.job_id"
    assert db.execute(moved).fetchone() == (True,)


def test_an_enqueuer_can_neither_read_nor_change_nor_lock_anything(granted, db):
    db.execute("insert into pgqueue.jobs (task, args) values ('t', '{\"secret\": 1}')")
    denied(
        granted("enqueuer"),
        "select args from pgqueue.jobs_live", "select args from pgqueue.jobs", "select * from pgqueue.running",
        "select * from pgqueue.dead_letters", "select * from pgqueue.idempotency_keys", "select * from pgqueue.workers",
        "insert into pgqueue.jobs (task, attempt) values ('t', 5)", "insert into pgqueue.jobs (task, lease_id) values ('t', 5)",
        "insert into pgqueue.jobs (task, state, worker_id) values ('t', 'running', 1)",
        "insert into pgqueue.jobs (task, stored_by_pgqueue) values ('t:on_dead', true)",
        "update pgqueue.jobs_live set priority = 1", "delete from pgqueue.jobs_live", "select id from pgqueue.jobs_live for update",
        "do $$ begin lock table pgqueue.jobs_live in share update exclusive mode; end $$", "select pgqueue.cancel(1)", "select pgqueue.edit(1, '{\"priority\": 1}')",
        "select pgqueue.revive(1)", "select pgqueue.why(1)", "select pgqueue.recount_seats()", "select pgqueue.add_partitions(1)", "select pgqueue.signal_parents(array[1])",
        "select setval('pgqueue.jobs_id_seq', 1)", "select setval('pgqueue.awake_0', 9999999999999)",
        "select nextval('pgqueue.waited_until')", "update pgqueue.queues set paused = true", "insert into pgqueue.limits (concurrency) values (0)",
        "update pgqueue.schema_version set version_num = '9999'", "create table pgqueue.mine ()",
    )  # fmt: skip


def test_the_error_of_an_enqueuer_that_lacks_a_right_mentions_pgq_db_grants(granted):
    app = App(granted("enqueuer"))

    @app.task(name="t")
    def task() -> None: ...

    with pytest.raises(MissingPrivilegeError) as caught:
        task.using(idempotency_key="k").enqueue()
    assert "pgq db grants" in caught.value.do
    app.close()


def test_the_error_of_an_enqueuer_without_the_right_to_wait_for_jobs_says_which_grants_it_lacks(granted):
    app = App(granted("enqueuer"))
    app.task(name="t")(lambda: None)
    handle = app.tasks["t"].enqueue()

    async def later() -> None:
        for ask in (handle.ajob, handle.result):
            with pytest.raises(MissingPrivilegeError, match=said):
                await ask()
        await app.aclose()

    said = "is not allowed to read jobs or workflows, or to wait for them.*If the application also waits for jobs"
    assert "\n-- If the application also waits for jobs" in grants("enqueuer")
    for ask in (handle.job, handle.result):
        with pytest.raises(MissingPrivilegeError, match=said):
            ask()
    asyncio.run(later())


def test_an_enqueuer_with_the_additional_grants_uses_idempotency_keys_replaces_jobs_and_waits(granted, db):
    app = App(
        granted(
            "enqueuer",
            "idempotency_keys",
            "pgqueue.jobs",
            "replace_job",
            "pgqueue.checkpoints",
            "text_of",
            "waited_until",
        )
    )

    @app.task(name="t")
    def task(n: int = 0) -> str: ...

    task.using(idempotency_key="k").enqueue()
    assert not task.using(idempotency_key="k").enqueue().created
    task.using(unique_key="th", throttle=60).enqueue()
    for n in range(2):
        task.using(unique_key="r", on_conflict="replace").enqueue(n=n)
        handle = task.using(unique_key="d", debounce=5).enqueue(n=n)
    db.execute("update pgqueue.jobs_live set run_at = now()")
    hand = Hand(db, ["t"])
    for attempt in hand.claim():
        hand.settle(attempt, Outcome.completed('"done"'))
    assert handle.result(timeout=20) == "done"
    app.close()


# ------------------------------------------------------------------ roles that work


def test_a_worker_role_can_do_everything_that_a_worker_does(granted, db, caplog):
    """The worker runs jobs with limits, keys, ordering, hooks, chunks, retries, steps and job.transaction. It also fires schedules, rescues, raises alerts and maintains."""
    db.execute(
        "insert into pgqueue.limits (queue, concurrency, rate, period) values ('default', 50, 1000, '1 s')"
    )
    db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 1)")
    db.execute("insert into pgqueue.schedules (name, task, every) values ('often', 'plain', '1 s')")
    db.execute(
        "insert into pgqueue.workers (id, expires_at, pid, slots, host, version, executor, queues, tasks)"
        " overriding system value values (99, now() - interval '1 s', 1, 1, 'h', '0', 'async', '{}', '{}')"
    )
    db.execute("insert into pgqueue.jobs (task, state, worker_id) values ('plain', 'running', 99)")
    db.execute("insert into pgqueue.jobs (task, expires_at) values ('plain', now() - interval '1 s')")
    app = App(granted("worker"))
    dead_tasks: list[str] = []

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="again", retry=[0, 0])
    def again(job: Job) -> None:
        if job.attempt == 1:
            raise Retry

    @app.task(name="own")
    def own(job: Job) -> str:
        job.progress(1, 2)
        job.step("step", int)
        job.step_transaction("effect", lambda connection: None)
        job.save(1)
        with job.transaction(result="x") as connection:
            plain.using(connection=connection).enqueue()
        return "x"

    @app.task(name="dies")
    def dies() -> None:
        raise Dead

    @dies.on_dead
    def dead(job: Job, failure: object) -> None:
        dead_tasks.append(job.task)

    @app.task(name="many", chunk=5)
    def many(jobs: list[Job]) -> None: ...

    @app.task(name="last", timeout=60)
    def last() -> None:
        for text in (
            "select from pgqueue.schedule_runs where state = 'enqueued'", "select from pgqueue.transitions where reason = 'rescued'",
            "select from pgqueue.alerts", "select from pgqueue.transitions where reason = 'expired'", "select from pgqueue.leader",
            "select from pgqueue.jobs_live where task = 'pgqueue.alert_webhook' and attempt > 0",
        ):  # fmt: skip
            wait_until(lambda text=text: db_of_test.execute(text.encode()).fetchall(), 50)

    db_of_test = db
    for name in ("plain", "again", "own", "dies", "last"):
        db.execute("select from pgqueue.enqueue(%s, '{}', '{\"max_attempts\": 2}')", [name])
    db.execute('select from pgqueue.enqueue_many(\'[{"task": "many", "each": [{}, {}, {}]}]\')')
    for _ in range(3):
        db.execute(
            'select from pgqueue.enqueue(\'plain\', \'{}\', \'{"concurrency_key": "k", "ordering": "block"}\')'
        )
    settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.1, heartbeat=0.1, lease=5)
    alerts = AlertSettings(webhook="http://127.0.0.1:9/")
    assert Worker(app, settings, alerts=alerts).run() == 0
    app.close()
    assert "permission denied" not in caplog.text
    assert "a bug" not in caplog.text
    assert dead_tasks == ["dies"]
    left = db.execute(
        "select task, state from pgqueue.jobs where queue = 'default' and state not in ('completed', 'cancelled')"
    )
    assert set(left.fetchall()) <= {("dies", "dead"), ("plain", "pending")}


def test_a_worker_role_cannot_change_tables_limits_or_the_schema_version(granted):
    denied(
        granted("worker"), "truncate pgqueue.jobs_live", "drop table pgqueue.jobs_live", "alter table pgqueue.jobs_live add x int",
        "create table pgqueue.mine ()", "update pgqueue.limits set concurrency = 1", "delete from pgqueue.transitions",
        "update pgqueue.schema_version set version_num = '9999'", "delete from pgqueue.jobs_dead",
    )  # fmt: skip


# ------------------------------------------------------------------ roles that operate or read

READING = (
    ["jobs", "list"], ["jobs", "show", "1"], ["why", "1"], ["queues", "list"], ["workers", "list"], ["limits", "list"],
    ["cron", "list"], ["alerts"], ["doctor"], ["migrate", "--check"],
)  # fmt: skip
OPERATING = (
    ["jobs", "cancel", "1"], ["jobs", "revive", "1"], ["jobs", "edit", "1", "--priority", "3"], ["queues", "pause", "default"],
    ["queues", "resume", "default"], ["limits", "set", "--queue", "mail", "--concurrency", "3"], ["limits", "remove", "1"],
    ["cron", "pause", "s"], ["cron", "resume", "s"], ["cron", "run", "s"], ["cron", "remove", "s"], ["alerts", "resolve", "1"],
    ["alerts", "mute", "1"],
)  # fmt: skip


@pytest.fixture
def something(db) -> None:
    """Stores a job, a schedule and an alert, on which commands can act."""
    db.execute("insert into pgqueue.jobs (task, args) values ('t', '{\"a\": 1}')")
    db.execute("insert into pgqueue.schedules (name, task, every) values ('s', 't', '1 min')")
    db.execute("insert into pgqueue.alerts (kind, subject, text) values ('late', 'mail', 'mail is late')")


@pytest.mark.parametrize("kind", ["operator", "reader"])
def test_an_operator_and_a_reader_can_run_every_command_that_reads(granted, something, kind):
    dsn = granted(kind)
    for words in READING:
        done = pgq(dsn, *words)
        assert done.exception is None or isinstance(done.exception, SystemExit), (words, done.exception)
        assert done.exit_code in (0, 7), (words, done.output)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for view in ("running", "dead_letters", "queue_depth", "job_timeline", "schedule_overview"):
            connection.execute(f"select * from pgqueue.{view}".encode())


def test_an_operator_can_run_every_command_that_changes_something_and_cannot_make_tables(
    granted, something, db
):
    dsn = granted("operator")
    for words in OPERATING:
        done = pgq(dsn, *words)
        assert done.exit_code == 0, (words, done.output, done.exception)
    denied(
        dsn, "select pgqueue.add_partitions(1)", "select pgqueue.drop_partitions()", "select pgqueue.recount_seats()",
        "delete from pgqueue.workers", "update pgqueue.schema_version set version_num = '9999'", "truncate pgqueue.jobs_live",
        "select setval('pgqueue.jobs_id_seq', 1)", "delete from pgqueue.transitions",
    )  # fmt: skip


def test_a_reader_changes_nothing(granted, something, db):
    dsn = granted("reader")
    for words in OPERATING:
        done = pgq(dsn, *words)
        assert isinstance(done.exception, MissingPrivilegeError), (words, done.output, done.exception)
    denied(dsn, "insert into pgqueue.jobs (task) values ('t')", "delete from pgqueue.jobs_live", "select pgqueue.enqueue('t')",
           "select pgqueue.wake('default')", "select nextval('pgqueue.awake_0')")  # fmt: skip


def test_a_reader_without_the_right_to_see_arguments_still_sees_how_many_jobs_are_due(role, db):
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    lines = [line.removeprefix("-- ") for line in grants("reader").splitlines()]
    dsn = role(
        *[
            line
            for line in lines
            if line.startswith("grant") and ("usage on schema" in line or "(" in line or "depth" in line)
        ]
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute("select queue, due from pgqueue.queue_depth").fetchall() == [("default", 1)]
    denied(
        dsn,
        "select args from pgqueue.jobs_live",
        "select * from pgqueue.running",
        "select * from pgqueue.dead_letters",
    )


def test_a_reader_without_the_right_to_see_arguments_can_read_the_view_without_secrets(role, db):
    db.execute(
        """insert into pgqueue.jobs (task, args, meta, unique_key, progress, last_error)
           values ('t', '{"a": "CANARY"}', '{"a": "CANARY"}', 'CANARY', '{"message": "CANARY"}', 'CANARY')"""
    )
    lines = [line.removeprefix("-- ") for line in grants("reader").splitlines()]
    dsn = role(
        *[
            line
            for line in lines
            if line.startswith(("grant usage on schema", "grant select (")) or "redacted" in line
        ]
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        [shown] = connection.execute("select to_jsonb(r) from pgqueue.jobs_redacted r").fetchall()
    assert shown[0]["task"] == "t"
    assert "CANARY" not in str(shown)
    denied(
        dsn,
        "select args from pgqueue.jobs",
        "select last_error from pgqueue.jobs",
        "select meta from pgqueue.jobs_live",
    )


# ------------------------------------------------------------------ the command


def test_the_command_prints_the_grants_that_are_tested_here():
    done = CliRunner().invoke(root(), ["db", "grants"])
    assert done.exit_code == 0
    for kind in ("enqueuer", "worker", "operator", "reader"):
        assert grants(kind).replace("ROLE", f"pgqueue_{kind}") in done.stdout


def test_the_command_prints_the_given_name_of_a_role_as_a_quoted_identifier():
    done = CliRunner().invoke(root(), ["db", "grants", "--role", "worker", 'o"x; drop'])
    assert 'to "o""x; drop";' in done.stdout
    assert "pgqueue_enqueuer" not in done.stdout
    for words in (["db", "grants", "--role", "boss"], ["db", "grants", "web"]):
        assert CliRunner().invoke(root(), words).exit_code != 0
    assert json.dumps(done.stdout).isascii()
