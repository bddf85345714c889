"""``pgq bench``: it measures a real server, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from psycopg import Connection

from tests.command_line import pgq
from tests.factories import add_jobs, look
from tests.waiting import STARTS, wait_until
from tests.worker_by_hand import Hand

TABLES = (
    "jobs", "transitions", "stats", "tasks", "workers", "queues", "schedule_sets", "alerts", "audit", "undo_rows", "schedule_runs", "checkpoints",
)  # fmt: skip


def left(db: Connection[Any]) -> dict[str, int]:
    """Returns how many rows each table has."""
    return {table: db.execute(f"select count(*) from pgqueue.{table}").fetchone()[0] for table in TABLES}


def leads(db: Connection[Any]) -> bool:
    """Returns whether the lease of a leader is in force."""
    return db.execute(
        "select exists (select from pgqueue.leader where expires_at > clock_timestamp())"
    ).fetchone()[0]


def begun(dsn: str, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PGQUEUE_DSN": dsn, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "bench", *words], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_it_measures_a_server_and_leaves_nothing_behind(dsn, db, tmp_path):
    before = left(db)
    done = pgq("bench", "--seconds", "1", "--json", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    numbers = {name: value for name, value in found.items() if not name.endswith("_limit")}
    assert all(value > 0 for name, value in numbers.items() if name != "fsync_ms"), found
    assert found["enqueue_many_per_second"] > found["enqueue_per_second"]
    assert found["pickup_p50_ms"] <= found["pickup_p99_ms"]
    assert found["seconds"] < 60
    assert (left(db), leads(db)) == (before, False)
    assert done.stderr == ""


def test_it_says_in_words_what_the_server_carries(dsn, db, tmp_path):
    done = pgq("bench", "--seconds", "1", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    assert "jobs a day" in done.stdout
    assert done.stdout.count("What limits ") == 2
    assert "measures" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["enqueuing", "a worker", "single jobs"])
def test_a_signal_ends_it_and_nothing_stays(dsn, db, number, phase):
    before = left(db)
    process = begun(dsn, "--seconds", "10")
    assert process.stderr is not None
    while phase not in process.stderr.readline():
        assert process.poll() is None
    if phase == "enqueuing":
        wait_until(lambda: left(db)["jobs"] > 10, STARTS)
    else:
        wait_until(
            lambda: (
                db.execute("select exists (select from pgqueue.jobs where state = 'completed')").fetchone()[0]
                or process.poll() is not None
            ),
            STARTS,
        )
    process.send_signal(number)
    out, said = process.communicate(timeout=STARTS)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "jobs/s" not in out
    assert (left(db), leads(db)) == (before, False)


@pytest.mark.parametrize("phase", ["enqueuing", "single jobs"])
def test_an_error_in_the_middle_is_shown_and_nothing_stays(dsn, db, phase):
    before = left(db)
    db.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$"
    )
    process = begun(dsn, "--seconds", "10")
    assert process.stderr is not None
    while phase not in process.stderr.readline():
        assert process.poll() is None
    db.execute(
        "create trigger refuse before insert on pgqueue.jobs_live for each row execute function refuse()"
    )
    _, said = process.communicate(timeout=STARTS)
    assert process.returncode == 1, said
    assert "no room" in said
    assert "Traceback" not in said
    assert (left(db), leads(db)) == (before, False)


def test_it_refuses_a_queue_in_use_unless_it_is_told_to_measure_anyway(dsn, db, tmp_path):
    [job_id] = add_jobs(db)
    refused = pgq("bench", "--seconds", "1", cwd=tmp_path, dsn=dsn)
    assert refused.returncode == 7
    assert "jobs due: 1" in refused.stderr
    assert "--anyway" in refused.stderr
    hand = Hand(db, ["other"])
    before = left(db)
    assert "workers alive: 1" in pgq("bench", "--seconds", "1", cwd=tmp_path, dsn=dsn).stderr
    done = pgq("bench", "--seconds", "1", "--anyway", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0, done.stderr
    assert look(db, job_id) == "pending"
    assert left(db) == before
    assert hand.id


def test_it_fires_no_schedule_and_purges_nothing(dsn, db, tmp_path):
    db.execute(
        "insert into pgqueue.schedules (name, task, every, next_at, source)"
        " values ('often', 'mail', interval '1 second', now() - interval '1 hour', 'sql')"
    )
    before = left(db)
    assert pgq("bench", "--seconds", "1", cwd=tmp_path, dsn=dsn).returncode == 0
    assert left(db) == before


def test_a_role_that_may_not_remove_the_jobs_is_told_so_before_any_is_stored(dsn, db, tmp_path, role):
    poor = role(
        "grant usage on schema pgqueue to ROLE", "grant select on all tables in schema pgqueue to ROLE"
    )
    done = pgq("bench", "--seconds", "1", cwd=tmp_path, dsn=poor)
    assert done.returncode != 0
    assert "PGQ-201" in done.stderr
    assert left(db)["jobs"] == 0
