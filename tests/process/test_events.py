"""Hooks, middleware, chunks and alerts with real worker processes, some of which are killed."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests import receivers
from tests.apps import hooked_tasks
from tests.process.worker_processes import QUICK, WorkerProcesses, unfinished
from tests.waiting import wait_until

# The limit of crashes is high, so that no job becomes dead only because its worker was killed.
MANY_CRASHES = (*QUICK, "--crash-limit", "50")
EVENTFUL = ("-A", "tests.apps.hooked_tasks:app")
HOOK_JOBS = """
create schema seen;
create table seen.hooks (hook text not null, job_id bigint not null);
create function seen.note_hook() returns trigger language plpgsql as $$
begin
    insert into seen.hooks values (new.task, (new.args -> 'job' ->> 'id')::bigint);
    return null;
end $$;
create trigger note_hook after insert on pgqueue.jobs_live
    for each row when (new.task like '%:on\\_%') execute function seen.note_hook();
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def workers(dsn: str, tmp_path: Path, notes: Path) -> Iterator[WorkerProcesses]:
    with WorkerProcesses(dsn, tmp_path, {hooked_tasks.NOTES: str(notes)}) as processes:
        yield processes


def read(notes: Path, kind: str) -> list[list[str]]:
    """Returns the words of each note of this kind, without the first word, which is the kind."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.split()[1:] for line in lines if line.split()[0] == kind]


def enqueue(db: Connection[Any], ops: dict[str, int]) -> dict[int, str]:
    """Enqueues the given number of jobs of each task, in random order. Returns the task of each job id."""
    tasks = [task for task, count in ops.items() for _ in range(count)]
    random.shuffle(tasks)
    with db.transaction():
        handles = [
            getattr(hooked_tasks, task).using(db).enqueue(**({} if task == "kill_worker" else {"op": op}))
            for op, task in enumerate(tasks)
        ]
    return {handle.id: task for handle, task in zip(handles, tasks, strict=True)}


# ---------------------------------------------------------------- hooks


def test_the_hooks_of_every_outcome_are_called_at_least_once_even_if_workers_are_killed(
    workers: WorkerProcesses, db: Connection[Any], notes: Path
) -> None:
    """For each event, exactly one job is stored that calls the hook, even if the leader wrote the outcome because the worker had died."""
    db.execute(HOOK_JOBS.encode())
    tasks = enqueue(
        db,
        {"doom_async": 60, "doom_thread": 40, "doom_process": 12, "fine": 60, "booked": 20, "kill_worker": 3},
    )
    for _ in range(2):
        workers.start(*EVENTFUL, *MANY_CRASHES, "-c", "8")

    def settled() -> bool:
        """Keeps two workers running, and sometimes kills one of them. Returns whether all jobs are finished."""
        living = [worker for worker in workers.all if worker.process.poll() is None]
        if (
            len(living) == 2
            and len(workers.all) < 9
            and len(read(notes, "dead")) > 20 * (len(workers.all) - 1)
        ):
            random.choice(living).signal(signal.SIGKILL)
        if len(living) < 2:
            workers.start(*EVENTFUL, *MANY_CRASHES, "-c", "8")
        return not unfinished(db)

    wait_until(settled, timeout=60)
    died = {job_id for job_id, task in tasks.items() if task.startswith(("doom", "kill"))}
    assert {row[0] for row in db.execute("select id from pgqueue.jobs_dead")} == died

    called = Counter(int(job_id) for job_id, *_ in read(notes, "dead"))
    assert set(called) == died
    stored = Counter(db.execute("select hook, job_id from seen.hooks").fetchall())
    dead = {item: count for item, count in stored.items() if item[0].endswith(":on_dead")}
    assert dead == {(f"{tasks[job_id]}:on_dead", job_id): 1 for job_id in died}

    # An attempt also fails if its worker crashes. So the failed attempts are counted from the transitions, not from the errors of handlers.
    failed = Counter(int(job_id) for job_id, _ in read(notes, "failed"))
    assert set(failed) == {job_id for job_id in died if tasks[job_id] == "doom_async"}
    attempts = db.execute(
        "select job_id, count(*) from pgqueue.transitions where to_state in ('retrying', 'dead') group by job_id"
    )
    counted = {job_id: count for job_id, count in attempts if tasks.get(job_id) == "doom_async"}
    assert {job_id: stored["doom_async:on_failed", job_id] for job_id in counted} == counted
    assert all(failed[job_id] >= count for job_id, count in counted.items())

    completed = Counter(int(job_id) for job_id, _ in read(notes, "completed"))
    assert set(completed) == {job_id for job_id, task in tasks.items() if task in ("fine", "booked")}
    killed = {job_id for job_id, task in tasks.items() if task == "kill_worker"}
    stalled = {int(job_id): reason for job_id, reason in read(notes, "stalled")}
    assert stalled == dict.fromkeys(killed, "attempts_exhausted")


def test_a_hook_gets_the_reason_of_the_failure_although_another_hook_raises(
    workers: WorkerProcesses, db: Connection[Any], notes: Path
) -> None:
    worker = workers.start(*EVENTFUL, "--poll", "30")
    wait_until(lambda: worker.id(db))
    [job_id] = enqueue(db, {"doom_thread": 1})
    # A wake-up has started the job of the hook: the next poll would be too late.
    wait_until(lambda: read(notes, "dead"), timeout=10)
    assert read(notes, "dead") == [[str(job_id), "attempts_exhausted", "ValueError:_op_0"]]
    [line] = wait_until(lambda: worker.lines("the hook fail_always of doom_thread:on_dead failed for job"))
    assert f"for job {job_id};" in line
    wait_until(lambda: not unfinished(db))
    assert db.execute("select count(*) from pgqueue.jobs where task like '%:on%'").fetchone() == (0,)


# ---------------------------------------------------------------- middleware


def test_middleware_surrounds_attempts_on_the_loop_on_threads_and_in_child_processes(
    workers: WorkerProcesses, db: Connection[Any], notes: Path
) -> None:
    with db.transaction():
        tasks = [getattr(hooked_tasks, f"layered_{way}").using(db) for way in ("async", "thread", "process")]
        good, bad = ([task.enqueue(op=op).id for task in tasks] for op in (1, 5))
    worker = workers.start(*EVENTFUL, "--drain")
    assert worker.wait() == 0
    rows = db.execute("select id, state, result, last_error from pgqueue.jobs").fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        **dict.fromkeys(good, ("completed", 2, None)),
        **dict.fromkeys(bad, ("cancelled", None, "middleware says so")),
    }
    assert sorted(read(notes, "before")) == sorted(
        [[str(job_id), "1"] for job_id in good] + [[str(job_id), "5"] for job_id in bad]
    )
    assert sorted(read(notes, "after")) == sorted(
        [[str(job_id), "2"] for job_id in good] + [[str(job_id), "LookupError"] for job_id in bad]
    )


# ---------------------------------------------------------------- chunks

PLANS = ("nothing", "value", "error", "retry", "snooze", "cancel", "dead", "unstorable")


def expected(op: int, plan: str) -> tuple[Any, ...]:  # noqa: PLR0911
    """Returns the outcome to which the plan leads: (state, attempt, result, beginning of last_error)."""
    match plan:
        case "nothing":
            return ("completed", 1, None, None)
        case "value":
            return ("completed", 1, {"op": op}, None)
        case "retry":
            return ("completed", 2, {"op": op, "attempt": 2}, "Retry: the handler asked for a retry")
        case "snooze":
            return ("completed", 1, {"op": op, "attempt": 1}, None)
        case "cancel":
            return ("cancelled", 1, None, f"op {op}")
        case "dead":
            return ("dead", 1, None, f"Dead: op {op}")
        case "unstorable":
            return ("dead", 1, None, "BadResultError")
    return ("dead", 2, None, f"ValueError: op {op}")


@pytest.mark.parametrize("task", ["chunk_async", "chunk_thread", "chunk_process"])
def test_each_job_of_a_chunk_has_the_outcome_that_the_handler_returned_for_it(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, task: str
) -> None:
    plans = [random.choice(PLANS) for _ in range(200)]
    with db.transaction():
        chunked = getattr(hooked_tasks, task).using(db)
        handles = chunked.enqueue_many([{"op": op, "plan": plan} for op, plan in enumerate(plans)])
    for _ in range(2):
        workers.start(*EVENTFUL, *QUICK, "-c", "40")
    wait_until(lambda: not unfinished(db), timeout=40)
    rows = db.execute("select id, state, attempt, result, last_error from pgqueue.jobs").fetchall()
    found = {job_id: (state, attempt, result, error) for job_id, state, attempt, result, error in rows}
    for op, (handle, plan) in enumerate(zip(handles, plans, strict=True)):
        state, attempt, result, error = found[handle.id]
        wanted = expected(op, plan)
        assert (state, attempt, result) == wanted[:3], (plan, found[handle.id])
        assert (error or "").startswith(wanted[3] or ""), (plan, error)
        assert (error is None) == (wanted[3] is None), (plan, error)
    sizes = [int(size) for [size] in read(notes, "chunk")]
    assert max(sizes) > 5, sizes
    assert max(sizes) <= 20


# ---------------------------------------------------------------- alerts

TOKEN, PATH_SECRET = "t0ken-of-the-hook", "s3cret-path"


def test_each_alert_is_sent_once_to_the_webhook_and_once_by_mail(
    dsn: str, db: Connection[Any], tmp_path: Path, notes: Path
) -> None:
    with receivers.serving(receivers.WebSink()) as web, receivers.serving(receivers.MailSink()) as mails:
        web.answers = [500]
        environment = {
            hooked_tasks.NOTES: str(notes),
            "PGQUEUE_ALERTS_WEBHOOK": f"{web.url}/{PATH_SECRET}",
            "PGQUEUE_ALERTS_WEBHOOK_TOKEN": TOKEN,
            "PGQUEUE_ALERTS_SMTP": mails.url,
            "PGQUEUE_ALERTS_MAIL_FROM": "queue@example.org",
            "PGQUEUE_ALERTS_MAIL_TO": "ops@example.org, dba@example.org",
            "PGQUEUE_ALERTS_STALLED_AFTER": "3s",
            "PGQUEUE_ALERTS_MAX_AGE": "3s",
        }
        with WorkerProcesses(dsn, tmp_path, environment) as workers:
            for _ in range(2):
                workers.start_registered(*EVENTFUL, *QUICK)
            enqueue(db, {"doom_async": 20, "doom_thread": 20})
            with db.transaction():
                unserved = hooked_tasks.fine.using(db, queue="nobody").enqueue(op=1).id
            alerts = {
                ("dead", "doom_async"),
                ("dead", "doom_thread"),
                ("stalled", "nobody"),
                ("late", "nobody"),
            }

            def all_are_sent() -> bool:
                posted = {(item.body["kind"], item.body["subject"]) for item in web.taken}
                return posted == alerts and len(mails.taken) == len(alerts)

            wait_until(all_are_sent, timeout=30)
            sending = "select count(*) from pgqueue.jobs_live where queue = 'pgqueue.alerts'"
            wait_until(lambda: db.execute(sending).fetchone() == (0,))
            leader = db.execute(
                "select w.pid from pgqueue.leader l join pgqueue.workers w on w.id = l.worker_id"
            ).fetchone()
            [first] = [worker for worker in workers.all if worker.pid == leader[0]]
            looks = "select min(count) from pgqueue.alerts where kind <> 'dead'"
            # The next leader finds the same problems, and must not send their messages again.
            first.signal(signal.SIGKILL)
            seen = db.execute(looks).fetchone()[0]
            wait_until(lambda: db.execute(looks).fetchone()[0] > seen + 5)

            assert len(web.taken) == len(alerts)
            assert len(mails.taken) == len(alerts)
            # One message was sent twice, because the first answer to it was an error.
            assert len(web.seen) == len(alerts) + 1
            assert {item.path for item in web.seen} == {f"/{PATH_SECRET}"}
            assert {item.headers["Authorization"] for item in web.seen} == {f"Bearer {TOKEN}"}
            assert len({item.headers["Idempotency-Key"] for item in web.taken}) == len(alerts)
            assert {item["To"] for item in mails.taken} == {"ops@example.org, dba@example.org"}
            assert {item["Subject"] for item in mails.taken} == {
                f"pgqueue: {kind}: {subject}" for kind, subject in alerts
            }
            rows = run(db, statements.list_alerts(False))
            assert {(alert.kind, alert.subject, alert.messages) for alert in rows} == {
                (*a, 1) for a in alerts
            }
            assert {alert.count for alert in rows if alert.kind == "dead"} == {20}

            db.execute("select pgqueue.cancel(%s)", [unserved])
            db.execute("delete from pgqueue.jobs_dead")
            wait_until(lambda: not run(db, statements.list_alerts(False)))
            assert len(run(db, statements.list_alerts(True))) == len(alerts)

            logs = "".join(worker.log.read_text() for worker in workers.all)
            assert "the webhook at 127.0.0.1 answered 500" in logs
        stored = "".join(str(row) for table in tables(db) for row in db.execute(table))
        for secret in (TOKEN, PATH_SECRET):
            assert secret not in stored
            assert secret not in logs


def tables(db: Connection[Any]) -> list[bytes]:
    names = db.execute("select tablename from pg_tables where schemaname = 'pgqueue'").fetchall()
    return [f"select to_jsonb(t)::text from pgqueue.{name} t".encode() for (name,) in names]


def test_a_worker_without_settings_for_alerts_does_not_send_the_messages_of_alerts(
    dsn: str, db: Connection[Any], tmp_path: Path
) -> None:
    """The worker still raises alerts. Their messages are sent as soon as a worker with the settings runs."""
    with receivers.serving(receivers.WebSink()) as web, WorkerProcesses(dsn, tmp_path) as workers:
        db.execute("select pgqueue.enqueue('gone', '{}')")
        db.execute("update pgqueue.jobs_live set run_at = now() - interval '1 h'")
        workers.start(*EVENTFUL, *QUICK)
        [alert] = wait_until(lambda: run(db, statements.list_alerts(False)))
        assert (alert.kind, alert.subject, alert.messages) == ("stalled", "default", 0)
        assert "no living worker of this queue knows the task gone" in alert.text
        workers.environment["PGQUEUE_ALERTS_WEBHOOK"] = web.url
        workers.start(*EVENTFUL, *QUICK, "-Q", "other")
        wait_until(lambda: web.taken)
        assert [item.body["alert"] for item in web.taken] == [alert.id]


def test_invalid_settings_for_alerts_are_refused_with_an_error(workers: WorkerProcesses) -> None:
    workers.environment["PGQUEUE_ALERTS_WEBHOOK"] = "ftp://token@example.org"
    worker = workers.start(*EVENTFUL)
    assert worker.wait() == 2
    assert worker.lines("PGQ-107  webhook of alerts is no URL that begins with http:// or https://.")
    assert not worker.lines("token@")
    assert not worker.lines("Traceback")
