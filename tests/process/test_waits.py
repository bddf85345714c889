"""Jobs that sleep and wait for signals, with worker processes that are killed, stopped or away when the job should go on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.apps import waiting_tasks
from tests.apps.step_functions import notes
from tests.apps.waiting_tasks import app
from tests.factories import look, reasons
from tests.process import killed_workers
from tests.process.killed_workers import expire
from tests.waiting import wait_until

POINTS = ("before the sleep", "after the sleep", "after the wait")


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. At the end of the test, the checker checks all invariants."""
    with killed_workers.checked(app, tmp_path, dsn, monkeypatch) as path:
        yield path


def worker(*options: str) -> subprocess.Popen[bytes]:
    return killed_workers.worker(waiting_tasks.PATH, 4, *options)


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_job_killed_at_any_point_sleeps_once_and_takes_its_signal_once(
    path: Path, db: Connection[Any], executor: str
) -> None:
    task = app.tasks["killed_async" if executor == "async" else "killed"]
    jobs = [task.enqueue(point=point).id for point in (*POINTS, "never")]
    for job_id in jobs:
        app.handle(job_id).signal("go", job_id)
    wait_until(lambda: run_to_the_end(db, executor) and states(db) == {"completed"})
    assert [look(db, job_id, "result") for job_id in jobs] == jobs
    for job_id in jobs:
        slept = [reason for _, _, reason in reasons(db, job_id) if reason == "sleeping"]
        assert slept == ["sleeping"], "each job slept once"
    assert db.execute("select count(*) from pgqueue.signals where taken_by is null").fetchone() == (0,)


def run_to_the_end(db: Connection[Any], executor: str) -> bool:
    """Runs a worker until no job is due, or until a handler kills the worker. Returns whether the worker ended by itself."""
    expire(db)
    return worker("--drain", "--executor", executor).wait(60) == 0


def states(db: Connection[Any]) -> set[str]:
    return {state for (state,) in db.execute("select state from pgqueue.jobs")}


def test_a_job_wakes_although_no_worker_was_alive_at_its_moment(path: Path, db: Connection[Any]) -> None:
    sleeping = app.tasks["sleeping"].enqueue(delay=0.5).id
    waiting = app.tasks["waiting"].enqueue(timeout=0.5).id
    told = app.tasks["waiting"].enqueue().id
    run_to_the_end(db, "thread")
    assert (look(db, told), look(db, waiting)) == ("waiting", "waiting")
    app.handle(told).signal("approved", 1)
    due = "select count(*) from pgqueue.jobs_live where run_at <= clock_timestamp()"
    wait_until(lambda: db.execute(due).fetchone() == (3,))
    later = worker()
    try:
        wait_until(lambda: states(db) == {"completed"})
    finally:
        later.terminate()
        assert later.wait(30) == 0
    assert [look(db, job_id, "result") for job_id in (sleeping, waiting, told)] == [
        "after", None, ["approved", 1, None, None],
    ]  # fmt: skip


def test_the_leader_wakes_a_job_soon_after_its_time_out(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["waiting"].enqueue(timeout=3).id
    running = worker("--executor", "thread")
    try:
        wait_until(lambda: look(db, job_id) == "completed")
    finally:
        running.terminate()
        assert running.wait(30) == 0
    [(late,)] = db.execute(
        "select extract(epoch from t.at - t.run_at)::float8 from pgqueue.transitions t where t.job_id = %s and t.reason = 'timed_out'",
        [job_id],
    ).fetchall()
    assert 0 <= late < 5.0, "the leader looks every second; the machine of the test can be slow"


def test_a_worker_that_stops_does_not_wait_for_jobs_that_sleep_or_wait(
    path: Path, db: Connection[Any]
) -> None:
    app.tasks["sleeping"].enqueue(delay=3600)
    app.tasks["waiting"].enqueue()
    running = worker()
    wait_until(lambda: states(db) <= {"pending", "waiting"} and len(notes(path)) == 3)
    wait_until(
        lambda: (
            db.execute("select count(*) from pgqueue.jobs_live where worker_id is not null").fetchone()
            == (0,)
        )
    )
    running.terminate()
    assert running.wait(30) == 0


def test_a_zombie_neither_suspends_its_former_job_nor_takes_a_signal(path: Path, db: Connection[Any]) -> None:
    """A worker is stopped while its handler runs. Another worker completes the job, and then the first worker goes on."""
    job_id = app.tasks["slow"].enqueue().id
    zombie = worker("--executor", "thread")
    try:
        wait_until(lambda: ["inside", 1] in notes(path))
        os.kill(zombie.pid, signal.SIGSTOP)
        Path(f"{path}.open").touch()
        other = worker("--executor", "thread")
        app.handle(job_id).signal("go", 1)
        wait_until(lambda: look(db, job_id) == "completed")
        app.handle(job_id).signal("go", 2)
        os.kill(zombie.pid, signal.SIGCONT)
        next_id = app.tasks["slow"].enqueue().id
        app.handle(next_id).signal("go", 3)
        wait_until(lambda: look(db, next_id) == "completed")
        other.terminate()
        zombie.terminate()
        assert (other.wait(30), zombie.wait(30)) == (0, 0)
    finally:
        zombie.kill()
    assert look(db, job_id, "result") == 1
