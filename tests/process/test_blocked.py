"""Handlers that block the event loop or keep the interpreter's lock. The worker logs such a handler, and the worker's process ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests.pids import is_gone
from tests.process.fleets import at_gates, gates, pids
from tests.process.worker_processes import QUICK, ROOT, WorkerProcess, WorkerProcesses, state_of
from tests.waiting import wait_until

APP = ("-A", "tests.apps.blocking_tasks:app")


def enqueue(db: Connection[Any], task: str, options: str = "{}", **args: Any) -> int:
    row = db.execute(
        "select id from pgqueue.enqueue(%s, %s, %s::jsonb)", [task, psycopg.types.json.Jsonb(args), options]
    ).fetchone()
    assert row is not None
    return int(row[0])


def outcome_of(db: Connection[Any], job_id: int) -> Any:
    return db.execute(
        "select state, attempt, crash_count, split_part(last_error, ':', 1) from pgqueue.jobs where id = %s",
        [job_id],
    ).fetchone()


def begin(
    workers: WorkerProcesses, db: Connection[Any], *options: str, timeout: float | None = None
) -> tuple[WorkerProcess, int, list[int]]:
    """Starts a worker and a job that blocks its loop. Two other jobs run in this worker, and a third job is enqueued later.

    Returns the worker, the id of the job that blocks, and the ids of the other three jobs.
    """
    worker, _ = workers.start_registered(*APP, "--heartbeat", "0.5", *options)
    innocent = [enqueue(db, "wait", gate=2) for _ in range(2)]
    wait_until(lambda: at_gates(db) == 2)
    limit = "" if timeout is None else f'"timeout": {timeout}, '
    guilty = enqueue(db, "block", "{" + limit + '"max_attempts": 2}', gate=1)
    wait_until(lambda: at_gates(db) == 3)
    return worker, guilty, [*innocent, enqueue(db, "nothing")]


def pgq(dsn: str, *command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "pgqueue", *command], cwd=ROOT, env={**os.environ, "PGQUEUE_DSN": dsn},
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def test_a_blocked_loop_is_logged_and_shown_until_the_loop_runs_again(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    with gates(workers.dsn, 2):
        worker, guilty, innocent = begin(workers, db, "--blocked", "0")
        blocked = "select blocked_by from pgqueue.workers where blocked_since < clock_timestamp()"
        assert wait_until(lambda: db.execute(blocked).fetchone()) == ([guilty],)
        why = "select reason, sentence from pgqueue.why(%s)"
        for job_id, by in ((guilty, "by this job."), (innocent[0], f"by job {guilty}.")):
            [reason, sentence] = db.execute(why, [job_id]).fetchone() or ("", "")
            assert reason == "blocked"
            assert sentence.endswith(by)
        assert f"by job {guilty}. Meanwhile its 3 jobs cannot go on" in " ".join(
            pgq(workers.dsn, "doctor").split()
        )
        assert "blocked" in pgq(workers.dsn, "workers", "list")
        # The blocked loop cannot cancel the handler, and --blocked 0 does not end the process.
        db.execute("select pgqueue.cancel(%s)", [guilty])
    wait_until(lambda: not db.execute(blocked).fetchone())
    wait_until(lambda: all(state_of(db, job_id) == "completed" for job_id in innocent))
    assert len(worker.lines(f"its loop has been blocked for 1.0 s by job {guilty} (block)")) == 1
    [line] = worker.lines('own.execute("select pg_advisory_lock_shared(%s)", [gate])')
    assert line.startswith("    ")  # a separate line, as in a traceback
    assert "\\n" not in line
    assert worker.lines("its loop runs again after")
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("end", "options", "expected"),
    [
        ("timeout", (), ("retrying", 1, 0, "JobTimeoutError")),
        ("cancel", (), ("cancelled", 1, 0, "cancelled on request")),
        ("limit", ("--blocked", "4"), ("retrying", 1, 1, "LoopBlockedError")),
    ],
)
def test_the_other_jobs_are_released_when_a_process_ends_because_its_loop_is_blocked(
    workers: WorkerProcesses,
    db: Connection[Any],
    end: str,
    options: tuple[str, ...],
    expected: tuple[Any, ...],
) -> None:
    with gates(workers.dsn, 2):
        worker, guilty, innocent = begin(workers, db, *options, timeout=1.0 if end == "timeout" else None)
        if end == "cancel":
            db.execute("select pgqueue.cancel(%s)", [guilty])
        assert worker.wait(timeout=90) == 13
        assert outcome_of(db, guilty) == expected
        assert [outcome_of(db, job_id) for job_id in innocent] == [("pending", 0, 0, None)] * 3
        assert len(worker.lines("the process ends")) == 1
        assert db.execute("select state from pgqueue.workers").fetchall() == [("stopped",)]
    workers.start(*APP, "--drain")
    wait_until(lambda: all(state_of(db, job_id) == "completed" for job_id in innocent))


def test_a_process_ends_if_a_handler_never_releases_the_interpreter_lock(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker, _ = workers.start_registered(*APP, *QUICK)
    job_id = enqueue(db, "hold_the_lock")
    assert worker.wait(timeout=120) == -signal.SIGVTALRM
    assert worker.lines("in hold_the_lock")
    db.execute("select pgqueue.cancel(%s)", [job_id])
    workers.start(*APP, *QUICK)
    wait_until(lambda: state_of(db, job_id) == "cancelled")


def test_a_supervisor_replaces_a_worker_that_is_silent_for_the_length_of_a_lease(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker = workers.start(*APP, "--processes", "2", *QUICK)
    at_work = "select count(*) from pgqueue.workers where heartbeat_at > started_at + interval '0.1 s'"
    # A supervisor does not watch a worker that is still starting.
    wait_until(lambda: db.execute(at_work).fetchone() == (2,))
    hung = min(pids(db))
    os.kill(hung, signal.SIGSTOP)
    [line] = wait_until(lambda: worker.lines("has sent no sign of life for"), timeout=60)
    assert f"(pid {hung})" in line
    wait_until(lambda: is_gone(hung))
    wait_until(lambda: len(pids(db)) == 2)
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


def test_a_process_that_was_stopped_by_a_signal_does_not_count_as_blocked(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker, _ = workers.start_registered(*APP, "--blocked", "2")
    worker.signal(signal.SIGSTOP)
    threading.Event().wait(4.0)  # longer than the two seconds of --blocked
    worker.signal(signal.SIGCONT)
    job_id = enqueue(db, "nothing")
    wait_until(lambda: state_of(db, job_id) == "completed")
    assert not worker.lines("blocked")
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
