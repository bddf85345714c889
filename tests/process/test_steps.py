"""Jobs with five steps. Their process is killed while they stand between or inside the steps, or it is a zombie: stopped until its lease is over.

The effect of each step must happen once, and a zombie must store no checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.apps import killed_steps
from tests.apps.points import reached
from tests.apps.step_functions import notes
from tests.apps.step_tasks import app
from tests.factories import look
from tests.pids import descendants, send
from tests.process import killed_workers
from tests.process.killed_workers import expire
from tests.waiting import STARTS, wait_until

POINTS = [f"{where} {n}" for n in range(5) for where in ("outside", "before", "after")] + ["end"]
# If a process is killed at a point "after n", an effect of step n outside the database happens twice: it has happened, but its checkpoint
# is not committed yet. If the process is killed at another point, each effect happens once.
KEPT_OPEN = "after"
FIVE_PARTS = [(str(n), n) for n in range(5)]  # the checkpoints of a job with five steps: key and value


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. At the end of the test, the checker checks all invariants."""
    with killed_workers.checked(app, tmp_path, dsn, monkeypatch) as path:
        yield path


def worker(*options: str) -> subprocess.Popen[bytes]:
    return killed_workers.worker(killed_steps.PATH, len(POINTS), *options)


def kill_at_each_point(
    path: Path, db: Connection[Any], task: str, executor: str, checkpoints: list[tuple[str, object]] = FIVE_PARTS
) -> dict[str, int]:  # fmt: skip
    """Runs a job for each point of POINTS until it stands there. Then kills the processes of all jobs, and lets a worker complete the jobs.

    At the end, each job must have these checkpoints. Returns the ids of the jobs by point.
    """
    jobs = {point: app.tasks[task].enqueue(point=point).id for point in POINTS}
    first = worker("--executor", executor)
    try:
        wait_until(lambda: len(reached(path)) == len(POINTS), STARTS)
        if executor == "process":
            for pid in descendants(first.pid):
                send(pid, signal.SIGKILL)
        else:
            first.kill()
            first.wait(30)
            expire(db)
            run(db, statements.rescue(crash_limit=100, count=100))
            # So the next attempts run in this executor, and not each in a child process of its own.
            db.execute("update pgqueue.jobs_live set crash_count = 0")
            wait_until(lambda: run_to_the_end(db, executor) and states(db) == {"completed"}, STARTS)
        wait_until(lambda: states(db) == {"completed"}, STARTS)
    finally:
        first.kill()
        first.wait()
    assert set(reached(path)) == set(POINTS)
    for job_id in jobs.values():
        stored = db.execute(
            "select key, value from pgqueue.steps where job_id = %s order by name <> 'part', name, key",
            [job_id],
        ).fetchall()
        assert stored == checkpoints
    return jobs


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_job_killed_at_any_point_has_the_effect_of_each_step_once(
    path: Path, db: Connection[Any], executor: str
) -> None:
    jobs = kill_at_each_point(path, db, "parts_async" if executor == "async" else "parts", executor)
    did = Counter((job_id, n) for what, job_id, n in notes(path) if what == "part")
    for point, job_id in jobs.items():
        assert {n: did[job_id, n] for n in range(5)} == {n: calls(point, n) for n in range(5)}, point


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_job_killed_at_any_point_has_the_rows_of_each_step_exactly_once(
    path: Path, db: Connection[Any], executor: str
) -> None:
    db.execute("create table booked (n int, job_id bigint)")
    task = "booked_parts_async" if executor == "async" else "booked_parts"
    jobs = kill_at_each_point(path, db, task, executor)
    rows = db.execute("select job_id, n from booked order by 1, 2").fetchall()
    assert rows == [(job_id, n) for job_id in sorted(jobs.values()) for n in range(5)]


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_job_with_every_kind_of_step_killed_at_any_point_has_each_effect_once(
    path: Path, db: Connection[Any], executor: str
) -> None:
    """Its parts are a step, two steps at the same time, a step with rows, a saved place with rows, and the last transaction."""
    db.execute("create table booked (n int, job_id bigint)")
    stored = [*FIVE_PARTS[:3], ("", "beside"), ("", 3)]
    jobs = kill_at_each_point(path, db, "mixed_async" if executor == "async" else "mixed", executor, stored)
    rows = db.execute("select job_id, n from booked order by 1, 2").fetchall()
    assert rows == [(job_id, n) for job_id in sorted(jobs.values()) for n in (2, 3, 4)]
    did = Counter(tuple(what) for what in notes(path))
    for point, job_id in jobs.items():
        assert [did["part", job_id, n] for n in range(2)] == [calls(point, n) for n in range(2)], point
        assert did["beside", job_id] in ((1, 2) if point.endswith(" 1") else (1,)), point
    assert db.execute("select distinct result from pgqueue.jobs").fetchall() == [(4,)]


def calls(point: str, n: int) -> int:
    """Returns how often the function of step n is called to its end, if the process is killed at a point."""
    return 2 if point == f"{KEPT_OPEN} {n}" else 1


def waiting_batches(db: Connection[Any]) -> int:
    """Returns how many batches of checkpoints wait for a lock."""
    [(count,)] = db.execute(
        "select count(*) from pg_stat_activity where application_name = 'pgqueue steps' and wait_event_type = 'Lock'"
        " and datname = current_database()"
    ).fetchall()
    return int(count)


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_checkpoint_that_is_committed_after_its_process_was_killed_is_found_by_the_next_attempt(
    path: Path, db: Connection[Any], connect: Callable[..., Connection[Any]], executor: str
) -> None:
    """A batch of checkpoints waits in the server for another transaction, while the process that waits for its answer is killed."""
    other = connect(autocommit=False)
    task = "parts_async" if executor == "async" else "parts"
    job_id = app.tasks[task].enqueue(point="nowhere").id
    other.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, key, value) values (%s, 1, 1, 'step', 'part', '2', '7')",
        [job_id],
    )
    first = worker("--executor", executor)
    try:
        wait_until(lambda: waiting_batches(db), STARTS)
        [victim] = descendants(first.pid) if executor == "process" else [first.pid]
        os.kill(victim, signal.SIGKILL)
        other.rollback()
        if executor != "process":
            first.wait(30)
            wait_until(lambda: db.execute("select from pgqueue.steps where key = '2'").fetchall())
            wait_until(lambda: run_to_the_end(db, executor) and states(db) == {"completed"})
        wait_until(lambda: states(db) == {"completed"})
    finally:
        first.kill()
        first.wait()
    stored = db.execute("select key, value, lease_id from pgqueue.steps order by 1").fetchall()
    assert [(key, value) for key, value, _ in stored] == FIVE_PARTS
    assert len({lease for _, _, lease in stored[:3]}) == 1, "the first attempt has stored three steps"
    assert stored[2][2] < stored[3][2], "the next attempt has stored the others"
    assert [n for _, _, n in notes(path)] == [0, 1, 2, 3, 4]


def run_to_the_end(db: Connection[Any], executor: str) -> bool:
    """Runs a worker until no job is due, or until a handler kills the worker. Returns whether the worker ended by itself."""
    expire(db)
    return worker("--drain", "--executor", executor).wait(60) == 0


def states(db: Connection[Any]) -> set[str]:
    return {state for (state,) in db.execute("select state from pgqueue.jobs")}


@pytest.mark.parametrize("executor", ["thread", "async", "process"])
def test_a_zombie_stores_no_checkpoint(path: Path, db: Connection[Any], executor: str) -> None:
    """A worker is stopped inside a step until another worker has completed the job. Then it goes on, and its step is not stored."""
    task = "gate_async" if executor == "async" else "gate"
    job_id = app.tasks[task].enqueue().id
    zombie = worker("--executor", executor)
    try:
        wait_until(lambda: ["inside", 1] in notes(path))
        os.kill(zombie.pid, signal.SIGSTOP)
        Path(
            f"{path}.open"
        ).touch()  # a child process of the zombie goes on, and its request waits in the socket to the zombie
        other = worker("--executor", "thread")
        wait_until(lambda: look(db, job_id) == "completed")
        os.kill(zombie.pid, signal.SIGCONT)
        next_id = app.tasks["gate"].enqueue().id
        wait_until(lambda: look(db, next_id) == "completed")
        other.terminate()
        zombie.terminate()
        assert (other.wait(30), zombie.wait(30)) == (0, 0)
    finally:
        zombie.kill()
    [(lease, value)] = db.execute(
        "select lease_id, value from pgqueue.steps where job_id = %s", [job_id]
    ).fetchall()
    assert (lease, value) == (look(db, job_id, "lease_id"), look(db, job_id, "lease_id"))
