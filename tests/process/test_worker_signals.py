"""How a worker starts and stops, and how it survives signals, the loss of its lease and restarts of the server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.dev import embedded
from tests import checker
from tests.apps.workload import running_at_gate
from tests.pids import is_gone, send
from tests.process.worker_processes import QUICK, WorkerProcesses, enqueue, gate, state_of, unfinished
from tests.servers import create_database, directory_for_servers
from tests.waiting import wait_until


def running(db: Connection[Any]) -> int:
    row = db.execute("select count(*) from pgqueue.jobs_live where state = 'running'").fetchone()
    return row[0] if row else 0


def reasons(db: Connection[Any]) -> set[str]:
    return {reason for (reason,) in db.execute("select distinct reason from pgqueue.transitions")}


def load(db: Connection[Any], count: int = 200, ms: int = 100) -> None:
    with db.transaction():
        for op in range(count):
            enqueue(db, ("move_async", "move_thread")[op % 2], op, ms=ms)


# ---------------------------------------------------------------- SIGTERM, SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_under_load_claims_no_further_jobs(
    workers: WorkerProcesses, db: Connection[Any], number: signal.Signals
) -> None:
    load(db)
    worker, worker_id = workers.start_registered("-c", "8")
    wait_until(lambda: running(db) >= 8)
    at = db.execute("select clock_timestamp()").fetchone()
    worker.signal(number)
    assert worker.wait() == 0
    assert running(db) == 0
    assert unfinished(db) > 0
    # The worker finished the jobs that it was running. It released the jobs that it had claimed but not started, and the attempts of
    # these jobs do not count.
    assert reasons(db) <= {"released"}
    assert db.execute("select max(attempt) from pgqueue.jobs_live").fetchone() == (0,)
    late = db.execute(
        "select count(*) from chk.events where new_state = 'running' and worker_id = %s"
        " and at > %s::timestamptz + interval '100 ms'",
        [worker_id, at[0] if at else None],
    ).fetchone()
    assert late == (0,)
    assert db.execute("select state from pgqueue.workers where id = %s", [worker_id]).fetchone() == (
        "stopped",
    )


@pytest.mark.parametrize("task", ["hold_async", "hold_thread", "hold_process"])
def test_a_job_that_still_runs_at_the_end_of_the_grace_period_is_released(
    workers: WorkerProcesses, db: Connection[Any], task: str
) -> None:
    worker, _ = workers.start_registered("--grace", "0.3")
    with gate(workers.dsn, 1):
        job_id = enqueue(db, task, 1, inside=True)
        wait_until(lambda: running_at_gate(db, 1))
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 12
        row = db.execute("select state, attempt from pgqueue.jobs where id = %s", [job_id]).fetchone()
        assert row == ("pending", 0)
        assert reasons(db) == {"released"}
        assert worker.lines("1 job was still running and is handed back")
    # The next worker runs the job immediately.
    workers.start_registered()
    wait_until(lambda: state_of(db, job_id) == "completed")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("task", ["hold_async", "hold_thread", "hold_process"])
def test_a_second_signal_ends_the_worker_immediately(
    workers: WorkerProcesses, db: Connection[Any], number: signal.Signals, code: int, task: str
) -> None:
    worker, worker_id = workers.start_registered("--grace", "600", "--heartbeat", "0.3")
    with gate(workers.dsn, 1):
        job_id = enqueue(db, task, 1, inside=True)
        wait_until(lambda: running_at_gate(db, 1))
        worker.signal(number)
        wait_until(
            lambda: db.execute(
                "select 1 from pgqueue.workers where id = %s and state = 'draining'", [worker_id]
            ).fetchone(),
            timeout=30,
        )
        assert worker.process.poll() is None
        worker.signal(number)
        assert worker.wait() == code
        assert state_of(db, job_id) == "pending"


# ---------------------------------------------------------------- --drain, --processes


def test_a_worker_with_the_option_drain_runs_all_due_jobs_and_ends(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    load(db, count=60, ms=20)
    later = enqueue(db, "move_async", 1000, ms=1)
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 hour' where id = %s", [later])
    worker = workers.start("--drain", "--poll", "0.2")
    assert worker.wait() == 0
    assert unfinished(db) == 1
    assert state_of(db, later) == "pending"


def test_a_supervisor_replaces_a_worker_process_that_was_killed(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    def pids() -> set[int]:
        rows = db.execute(
            "select pid from pgqueue.workers where state = 'running' and expires_at > clock_timestamp()"
        )
        return {pid for (pid,) in rows}

    worker = workers.start("--processes", "2", *QUICK)
    wait_until(lambda: len(pids()) == 2)
    first, second = sorted(pids())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(pids() - {first}) == 2)
    [new] = pids() - {first, second}
    assert worker.lines(f"a worker process (pid {first}) died with -9 and is started again")
    os.kill(second, signal.SIGSTOP)  # so that the new process must run the job
    job_id = enqueue(db, "move_async", 1, ms=1)
    wait_until(lambda: state_of(db, job_id) == "completed")
    send(second, signal.SIGCONT)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert all(is_gone(pid) for pid in (second, new))


# ---------------------------------------------------------------- losing the lease


def test_a_worker_that_lost_its_lease_registers_again(workers: WorkerProcesses, db: Connection[Any]) -> None:
    worker, worker_id = workers.start_registered(*QUICK)
    with gate(workers.dsn, 1):
        job_id = enqueue(db, "hold_async", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        db.execute("update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s'")
        new_id = wait_until(lambda: worker.id(db) not in (None, worker_id) and worker.id(db))
        # The worker itself rescues the job, and runs it again under its new lease.
        wait_until(lambda: state_of(db, job_id) == "completed")
    row = db.execute("select worker_id, attempt from pgqueue.jobs where id = %s", [job_id]).fetchone()
    assert row == (new_id, 2)
    assert len(worker.lines("lost its lease and registers again; jobs given up: 1")) == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


# ---------------------------------------------------------------- the server stops and starts again


@pytest.mark.parametrize("statement", ["claim", "complete"])
def test_all_jobs_complete_once_although_the_answer_to_a_committed_claim_or_outcome_is_lost(
    workers: WorkerProcesses, db: Connection[Any], statement: str
) -> None:
    """After a claim whose answer is lost, the worker still lives, so no leader rescues the jobs: the worker itself must find them.

    After an outcome whose answer is lost, the completed jobs must stay completed.
    """
    job_ids = [enqueue(db, "mail_async", op, effect=False, ms=1) for op in range(3)]
    worker, worker_id = workers.start_registered(broken=f"lose_the_answer_to_{statement}")
    wait_until(lambda: not unfinished(db))
    rows = db.execute(
        "select distinct state, worker_id, attempt from pgqueue.jobs where id = any(%s)", [job_ids]
    ).fetchall()
    assert rows == [("completed", worker_id, 1)]
    # The worker logs the lost answer after the commit for which the test waits above.
    wait_until(lambda: worker.lines("the answer is lost"))


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory / "server"


FAST = {"fsync": "off"}


def test_a_worker_waits_for_the_server_and_survives_its_restarts(home: Path, tmp_path: Path) -> None:
    server = embedded.start(home, settings=FAST)
    try:
        dsn = create_database(server.dsn, "here")
        migrate.upgrade(dsn)
        checker.install(dsn)
        server.stop()
        with WorkerProcesses(dsn, tmp_path) as workers:
            hasty = workers.start()
            assert hasty.wait() == 3
            assert hasty.lines("PGQ-1")
            worker = workers.start(*QUICK, "--wait-for-db", "60")
            wait_until(lambda: imported(worker.pid))
            assert worker.process.poll() is None
            server = embedded.start(home, settings=FAST)
            assert works(dsn, 1)
            for op, mode in enumerate(("immediate", "fast"), start=2):
                quiet = threading.Event()
                server.stop(mode)  # type: ignore[arg-type]
                quiet.wait(1.0)
                server = embedded.start(home, settings=FAST)
                assert works(dsn, op)
            assert len(worker.lines("the database went away")) == 2
            assert len(worker.lines("the database is back")) == 2
            assert not worker.lines("Traceback")
            assert len(worker.lines("")) < 20
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        checker.check(dsn)
    finally:
        if server.process.poll() is None:
            server.stop()


def test_an_outage_that_is_shorter_than_a_heartbeat_is_logged_once(home: Path, tmp_path: Path) -> None:
    """The idle connections notice the outage only after the busy connection has already been opened again."""
    server = embedded.start(home, settings=FAST)
    try:
        dsn = create_database(server.dsn, "here")
        migrate.upgrade(dsn)
        checker.install(dsn)
        with WorkerProcesses(dsn, tmp_path) as workers:
            worker, _ = workers.start_registered("--lease", "30", "--heartbeat", "3", "--poll", "0.1")
            assert works(dsn, 1)
            server.stop("immediate")
            server = embedded.start(home, settings=FAST)
            assert works(dsn, 2)
            with psycopg.connect(dsn, autocommit=True) as db:
                wait_until(
                    lambda: db.execute(
                        "select 1 from pgqueue.workers where heartbeat_at > pg_postmaster_start_time() + interval '0.1 s'"
                    ).fetchone()
                )
            assert works(dsn, 3)
            assert len(worker.lines("the database went away")) == 1
            assert len(worker.lines("the database is back")) == 1
        checker.check(dsn)
    finally:
        if server.process.poll() is None:
            server.stop()


def imported(pid: int) -> bool:
    """Returns whether this process has loaded the database driver."""
    return "libpq" in Path(f"/proc/{pid}/maps").read_text()


def works(dsn: str, op: int) -> bool:
    """Enqueues a job. Returns whether the job was completed within 10 s."""
    with psycopg.connect(dsn, autocommit=True) as db:
        job_id = enqueue(db, "move_thread", op, ms=1)
        begun = time.monotonic()
        wait_until(lambda: state_of(db, job_id) == "completed")
        return time.monotonic() - begun < 10
