"""``pgq queues``, ``workers``, ``doctor`` and ``migrate``: their output, their rows and their exit codes."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from tests.command_line import Done
from tests.factories import add_jobs
from tests.worker_by_hand import Hand

# ------------------------------------------------------------------ queues, workers


def test_no_job_of_a_paused_queue_is_claimed_until_the_queue_is_resumed(pgq, db):
    add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    assert json.loads(pgq("queues", "pause", "default", "--json").out) == {"queue": "default", "paused": True}
    assert hand.claim() == []
    assert pgq("queues", "list").rows[0][:3] == ["default", "paused", "1"]
    resumed = pgq("queues", "resume", "default")
    assert (resumed.out, "resumed" in resumed.err) == ("", True)
    assert len(hand.claim()) == 1
    assert pgq("queues", "list", "--json").items[0]["running"] == 1


@pytest.mark.parametrize("verb", ["resume", "remove"])
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("defalt", 5, "did you mean default?"), ("zzz", 5, "known: default"), ("a b", 2, "PGQ-405")],
)
def test_the_error_for_an_unknown_queue_suggests_the_nearest_queue_or_lists_the_known_queues(
    pgq, verb, name, code, said
):
    done = pgq("queues", verb, name)
    assert (done.code, said in done.err) == (code, True)


def test_a_queue_that_no_worker_has_served_yet_is_listed_and_can_be_paused(pgq, db):
    add_jobs(db, task="greet", count=3, queue="mail")
    add_jobs(db, task="greet", queue="mail", run_at="2030-01-01Z")
    add_jobs(db, task="greet", queue="later", run_at="2030-01-01Z")
    depth = "select queue, due, scheduled, running, oldest_due is not null from pgqueue.queue_depth order by queue"
    assert db.execute(depth).fetchall() == [
        ("default", 0, 0, 0, False),
        ("later", 0, 1, 0, False),
        ("mail", 3, 1, 0, True),
    ]
    assert [row[:4] for row in pgq("queues", "list").rows] == [["default", "", "0", "0"], ["later", "", "0", "1"], ["mail", "", "3", "1"]]  # fmt: skip
    assert pgq("queues", "resume", "mail").code == 0, "resuming a queue that is not paused is no error"
    paused = pgq("queues", "pause", "mail")
    assert (paused.code, "note" in paused.err) == (0, False)
    assert Hand(db, ["greet"], "mail").claim() == []
    assert pgq("queues", "list").rows[2][:3] == ["mail", "paused", "3"]


def test_pausing_an_unknown_queue_creates_the_queue_and_prints_a_note(pgq, db):
    add_jobs(db, task="greet", queue="mail")
    paused = pgq("queues", "pause", "mial")
    assert paused.code == 0
    assert (
        "no job and no worker has used this queue yet; did you mean mail? If so: pgq queues remove mial"
        in paused.err
    )
    add_jobs(db, task="greet", queue="mial")
    assert Hand(db, ["greet"], "mial").claim() == []


def test_a_queue_is_not_removed_while_a_worker_or_a_job_needs_the_queue(pgq, db):
    hand = Hand(db, ["greet"], "mail")
    assert (
        pgq("queues", "remove", "mail").code,
        "1 living worker" in pgq("queues", "remove", "mail").err,
    ) == (6, True)
    [job] = add_jobs(db, task="greet", queue="mail")
    hand.settle(hand.claim()[0], Outcome.dead("permanent_error", ValueError("no")))
    run(db, statements.stop_worker(hand.id))
    refused = pgq("queues", "remove", "mail")
    assert (refused.code, "PGQ-510" in refused.err, "1 unfinished or dead job" in refused.err) == (
        6,
        True,
        True,
    )
    db.execute("delete from pgqueue.jobs_dead where id = %s", [job])
    assert json.loads(pgq("queues", "remove", "mail", "--json").out) == {"queue": "mail", "removed": True}
    assert [item["queue"] for item in pgq("queues", "list", "--json").items] == ["default"]


def test_workers_are_listed_with_their_states(pgq, db):
    assert "No worker runs" in pgq("workers", "list").err
    alive, expired, stopped = (Hand(db, ["greet"]) for _ in range(3))
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [expired.id])
    run(db, statements.stop_worker(stopped.id))
    assert {(w["id"], w["state"]) for w in pgq("workers", "list", "--json").items} == {
        (alive.id, "running"),
        (expired.id, "expired"),
    }
    assert [row[1] for row in pgq("workers", "list", "--all").rows].count("stopped") == 1


# ------------------------------------------------------------------ doctor, migrate


def findings(done: Done) -> str:
    report = json.loads(done.out)
    assert done.code == (0 if report["ok"] else 7)
    return "\n".join(
        f"{finding['level']} {finding['what']} {finding['do']}" for finding in report["findings"]
    )


def test_doctor_finds_no_error_if_a_worker_serves_the_database(pgq, db):
    Hand(db, ["greet"])
    done = pgq("doctor", "--json")
    assert (done.code, "1 worker alive" in findings(done)) == (0, True)
    assert "ok    " in pgq("doctor").out


@pytest.mark.parametrize(
    ("mistake", "expected", "code"),
    [
        ("select 1", "warn 0 workers alive pgq work", 0),
        ("insert into pgqueue.jobs (task) values ('ghost')", "no living worker serves this queue. start a worker that has this task: pgq work -A module:app -Q default", 7),
        ("insert into pgqueue.jobs (task, run_at) values ('ghost', now() - interval '2 h')", "error 1 due job of task ghost", 7),
        ("insert into pgqueue.jobs (task) values ('t'); update pgqueue.queues set paused = true", "Queue default is paused with 1 due job. pgq queues resume default", 0),
        ("insert into pgqueue.jobs (task, state, finished_at) values ('t', 'dead', now())", "Queue default has 1 dead letter.", 0),
        ("insert into pgqueue.workers (expires_at, pid, slots, host, version, executor, queues, tasks) values (now(), 7, 1, 'far', '0', 'async', '{}', '{}')", "(far, pid 7) lost its lease", 0),
        ("insert into pgqueue.jobs (task, queue) values ('t', 'mail'); insert into pgqueue.queues (name, paused) values ('mail', true)", "Queue mail is paused", 0),
        ("drop function pgqueue.revive", "error function pgqueue.revive is missing pgq migrate", 7),
        ("create or replace function pgqueue.revive(job bigint) returns text language sql as 'select null'", "error function pgqueue.revive is not the function of this version", 7),
        ("update pgqueue.schema_version set version_num = '0000'", "error PGQ-205", 7),
        ("drop schema pgqueue cascade", "error PGQ-204", 7),
    ],
)  # fmt: skip
def test_doctor_reports_each_mistake(pgq, dsn, mistake, expected, code):
    with psycopg.connect(dsn) as connection:
        connection.execute(mistake.encode())
    done = pgq("doctor", "--json")
    assert done.code == code
    assert expected in findings(done)


def test_doctor_strict_fails_if_there_is_a_warning(pgq, db):
    Hand(db, ["greet"])
    run(db, statements.add_partitions(3))
    assert pgq("doctor", "--strict").code == 0
    add_jobs(db, task="greet", state="dead", finished_at="2026-11-01Z")
    assert (pgq("doctor").code, pgq("doctor", "--strict").code) == (0, 7)
    report = json.loads(pgq("doctor", "--strict", "--json").out)
    assert (report["ok"], {finding["level"] for finding in report["findings"]}) == (False, {"ok", "warn"})


def test_doctor_reports_a_task_if_no_worker_of_its_queue_has_this_task(pgq, db):
    Hand(db, ["greet"])
    add_jobs(db, task="ghost")
    assert (
        "no living worker knows this task. start a worker that has this task: pgq work -A module:app"
        in findings(pgq("doctor", "--json"))
    )


def test_doctor_tells_a_quiet_worker_from_none(pgq, db):
    Hand(db, ["greet"])
    add_jobs(db, task="greet")
    assert "quiet" not in findings(pgq("doctor", "--json"))
    db.execute("update pgqueue.workers set state = 'draining'")
    assert "the workers that know this task are quiet or stop" in findings(pgq("doctor", "--json"))


def test_doctor_suggests_a_worker_of_the_app_that_has_declared_the_task(pgq, db):
    db.execute(
        'select pgqueue.sync_tasks(\'shop\', \'[{"name": "greet", "options": {}, "keep": "all"}]\', 60)'
    )
    add_jobs(db, task="greet", queue="mail")
    assert "queue. start a worker of the app shop: pgq work -A module:app -Q mail" in findings(
        pgq("doctor", "--json")
    )


def test_migrate_makes_the_schema_and_a_second_run_changes_nothing(pgq, empty_dsn):
    assert pgq("migrate", "--check", "--dsn", empty_dsn).code == 4
    assert json.loads(pgq("migrate", "--json", "--dsn", empty_dsn).out)["result"] == "migrated"
    again = pgq("migrate", "--dsn", empty_dsn)
    assert (again.code, "there was nothing to do" in again.err) == (0, True)
    assert json.loads(pgq("migrate", "--check", "--json", "--dsn", empty_dsn).out)["result"] == "current"


def test_migrate_check_reports_a_missing_function(pgq, db):
    db.execute("drop function pgqueue.cancel")
    done = pgq("migrate", "--check")
    assert (done.code, "PGQ-205" in done.err, "pgqueue.cancel is missing" in done.err) == (4, True, True)
    assert pgq("migrate").code == 0
    assert pgq("migrate", "--check").code == 0


def test_the_sql_that_migrate_prints_without_a_connection_makes_the_same_schema(pgq, empty_dsn, monkeypatch):
    monkeypatch.delenv("PGQUEUE_DSN")
    printed = pgq("migrate", "--sql")
    assert (printed.code, printed.err) == (0, "")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(printed.out.encode())
    assert pgq("migrate", "--check", "--dsn", empty_dsn).code == 0
