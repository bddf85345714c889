"""A replay calls the handler of a job that ran before or never ran, and shows how the handler ended. It leaves no row behind."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, Job, Snooze
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidArgumentsError, MissingPrivilegeError, UnknownTaskError
from pgqueue.sql import grants
from pgqueue.worker.replay.findings import Notes
from pgqueue.worker.replay.recording import record_psycopg
from tests.factories import add_jobs, look
from tests.stages.replays import everything, of, replayed
from tests.worker_by_hand import Hand

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


def test_a_node_whose_results_are_missing_is_refused_with_that_reason(app: App, db: Connection[Any]) -> None:
    @app.task(name="t")
    def t(n: int = 0) -> int:
        return n

    @app.task(name="u")
    def u(amount: int) -> None: ...

    with app.workflow("w") as w:
        first = w.add(t.job())
        w.add(u.job(amount=first.result), name="second")
    job_id = w.handle.job("second").id
    with pytest.raises(InvalidArgumentsError, match="does not have all its arguments yet") as raised:
        replayed(app, db, job_id)
    assert f"pgq why {job_id}" in str(raised.value)


def test_a_replay_notes_each_way_in_which_a_cursor_runs_a_statement(dsn: str) -> None:
    notes = Notes()
    with psycopg.connect(dsn) as connection:
        connection.execute("create temporary table numbers (n int)")
        record_psycopg(connection, "app", notes)
        with connection.cursor() as cursor:
            cursor.execute(query="select 1")
            cursor.executemany("insert into numbers values (%s)", [(1,), (2,)])
            with cursor.copy("copy numbers from stdin") as copying:
                copying.write_row((3,))
        connection.execute("select * from numbers")
        connection.rollback()
    assert [(ran.text, ran.rows) for ran in notes.findings.statements] == [
        ("select 1", 1),
        ("insert into numbers values (%s)", 2),
        ("copy numbers from stdin", 1),
        ("select * from numbers", 3),
    ]
