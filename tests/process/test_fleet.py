"""``pgq work --processes``: how wake-ups reach the processes, and how processes end and are started again."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from psycopg import Connection

from tests.apps.workload import running_at_gate
from tests.pids import descendants, is_gone, send
from tests.process.fleets import at_gates, gates, listening, pids, start
from tests.process.worker_processes import (
    QUICK,
    WorkerProcesses,
    enqueue,
    gate,
    state_of,
    unfinished,
)
from tests.waiting import wait_until

SELDOM = ("--poll", "30")  # a job that starts within less than 30 s was found through a wake-up


# ------------------------------------------------------------------ wake-ups


def test_all_processes_get_jobs_after_one_notification_on_one_connection(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start(workers, db, 4, "-c", "3", *SELDOM)
    assert len(listening(db)) == 1
    with gates(workers.dsn, 12):
        with db.transaction():
            for op in range(1, 13):
                enqueue(db, "hold_async", op, inside=False)
        wait_until(lambda: at_gates(db) == 12, timeout=10)
    wait_until(lambda: not unfinished(db))


def test_wake_ups_start_jobs_although_one_process_hangs_and_another_has_no_free_slot(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start(workers, db, 3, "-c", "1", *SELDOM)
    with gate(workers.dsn, 1):
        enqueue(db, "hold_async", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        [(busy,)] = db.execute(
            "select w.pid from pgqueue.jobs_live j join pgqueue.workers w on w.id = j.worker_id"
        ).fetchall()
        hung, _ = pids(db) - {busy}
        os.kill(hung, signal.SIGSTOP)
        try:
            for op in range(2, 22):
                job_id = enqueue(db, "move_async", op, ms=1)
                wait_until(lambda job_id=job_id: state_of(db, job_id) == "completed", timeout=5)  # type: ignore[misc]
        finally:
            send(hung, signal.SIGCONT)
    wait_until(lambda: not unfinished(db))


# ------------------------------------------------------------------ processes that end


@pytest.mark.parametrize("slots", [1, 3], ids=["no_slot_free", "slots_free"])
def test_workers_finish_their_jobs_and_exit_when_their_supervisor_was_killed(
    workers: WorkerProcesses, db: Connection[Any], slots: int
) -> None:
    worker = start(workers, db, 2, "-c", str(slots), *SELDOM)
    children = pids(db)
    with gates(workers.dsn, 2):
        job_ids = [enqueue(db, "hold_async", op, inside=False) for op in (1, 2)]
        wait_until(lambda: at_gates(db) == 2)
        worker.end()
        wait_until(lambda: len(worker.lines("its supervisor is gone; it drains and exits")) == 2)
    wait_until(lambda: all(is_gone(pid) for pid in children))
    assert [state_of(db, job_id) for job_id in job_ids] == ["completed"] * 2
    assert not pids(db)


def test_a_worker_that_dies_repeatedly_is_started_again_after_a_longer_delay_each_time(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker = start(workers, db, 2, *QUICK)
    stable = min(pids(db))
    for _ in range(3):
        [victim] = wait_until(lambda: pids(db) - {stable})
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in pids(db))  # type: ignore[misc]
    wait_until(lambda: len(pids(db)) == 2)
    delays = [float(line.split()[-2]) for line in worker.lines("died with -9 and is started again in")]
    for delay, longest in zip(delays, (1, 2, 4), strict=True):
        assert longest / 2 - 0.1 <= delay <= longest
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize(("signals", "code"), [(1, 12), (2, 143)])
def test_a_supervisor_passes_signals_on_to_its_workers_and_exits_with_their_exit_code(
    workers: WorkerProcesses, db: Connection[Any], signals: int, code: int
) -> None:
    worker = start(workers, db, 2, "--grace", "1" if signals == 1 else "60")
    with gate(workers.dsn, 1):
        job_id = enqueue(db, "hold_async", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.lines("1 running job has"))
        if signals == 2:
            worker.signal(signal.SIGTERM)
        assert worker.wait() == code
        assert state_of(db, job_id) == "pending"
    workers.start("--drain")
    wait_until(lambda: not unfinished(db))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("task", "number"),
    [("hold_thread", signal.SIGTERM), ("hold_process", signal.SIGTERM), ("hold_process", signal.SIGINT)],
)
def test_a_signal_to_all_processes_makes_them_drain_and_a_second_signal_makes_them_release_their_jobs(
    workers: WorkerProcesses, db: Connection[Any], number: signal.Signals, count: int, task: str
) -> None:
    """systemd signals all processes when it stops a unit, and so does a terminal when a person presses Ctrl-C."""
    worker = start(workers, db, 2, "--grace", "60")
    with gate(workers.dsn, 1) as opened:
        job_id = enqueue(db, task, 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        for _ in range(count):
            for pid in [worker.pid, *descendants(worker.pid)]:
                send(pid, number)
            wait_until(lambda: worker.lines("1 running job has"))
        if count == 1:
            opened()
        assert worker.wait(timeout=60) == (0 if count == 1 else 128 + number)
    row = db.execute(
        "select state, attempt, crash_count from pgqueue.jobs where id = %s", [job_id]
    ).fetchone()
    assert row == (("completed", 1, 0) if count == 1 else ("pending", 0, 0))
    assert not worker.lines("died with")
    workers.start("--drain")
    wait_until(lambda: not unfinished(db))


@pytest.mark.parametrize("code", [0, 12, 143, -11], ids=str)
def test_the_jobs_of_a_worker_that_ends_by_itself_run_again_before_its_lease_ends(
    workers: WorkerProcesses, db: Connection[Any], code: int
) -> None:
    worker = start(workers, db, 2)  # with the default lease of 30 s
    first = pids(db)
    with gates(workers.dsn, 8):
        held = [enqueue(db, "hold_async", op, inside=False) for op in range(1, 9)]
        wait_until(lambda: at_gates(db) == 8)
        guilty = enqueue(db, "exit_once", 9, effect=False, code=code)
        [line] = wait_until(lambda: worker.lines("ERROR   a worker process"))
        assert f"died with {code} and is started again in" in line
        wait_until(lambda: state_of(db, guilty) == "completed", timeout=25)
        wait_until(lambda: len(pids(db)) == 2 and len(first & pids(db)) == 1)
    wait_until(lambda: not unfinished(db), timeout=25)
    assert {state_of(db, job_id) for job_id in held} == {"completed"}
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


def test_a_supervisor_with_the_option_drain_exits_when_all_jobs_have_ended(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    for op in range(20):
        enqueue(db, "move_async", op, ms=1)
    worker = workers.start("--processes", "2", "--drain", "--poll", "0.2")
    assert worker.wait(timeout=90) == 0
    assert not unfinished(db)
    assert not worker.lines("died with")
