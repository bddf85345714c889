"""A zombie is a worker that is stopped by a signal until its lease has run out, and then goes on.

It must not change a job that another worker has finished in the meantime.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
from psycopg import Connection

from tests.apps.workload import running_at_gate
from tests.pids import send
from tests.process.worker_processes import QUICK, WorkerProcess, WorkerProcesses, enqueue, gate, state_of
from tests.waiting import wait_until

OP, NEXT = 1, 2


def all_rows(db: Connection[Any], job_id: int) -> list[Any]:
    """Returns all rows that are stored about a job."""
    return [
        db.execute(query, [job_id]).fetchall()
        for query in (
            "select j.* from pgqueue.jobs j where j.id = %s",
            "select t.* from pgqueue.transitions t where t.job_id = %s order by t.at",
            "select e.* from chk.effects e where e.job_id = %s",
            "select e.* from chk.events e where e.job_id = %s order by e.seq",
        )
    ]


def is_rescued(db: Connection[Any], job_id: int) -> bool:
    row = db.execute(
        "select exists (select from pgqueue.transitions where job_id = %s and reason = 'rescued')", [job_id]
    ).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize("inside", [False, True], ids=["before_the_transaction", "inside_the_transaction"])
@pytest.mark.parametrize("task", ["hold_async", "hold_thread", "hold_process"])
def test_a_zombie_does_not_change_a_job_that_another_worker_has_completed(
    workers: WorkerProcesses, db: Connection[Any], task: str, inside: bool
) -> None:
    first, first_id = workers.start_registered(*QUICK)
    with gate(workers.dsn, OP) as opened:
        job_id = enqueue(db, task, OP, inside=inside)
        wait_until(lambda: running_at_gate(db, OP))
        stop(db, first, OP)
        _, second_id = workers.start_registered(*QUICK)
        wait_until(lambda: state_of(db, job_id) == "completed")
        assert is_rescued(db, job_id)
        before = all_rows(db, job_id)
        opened()
    resume(db, first, OP)
    # The zombie notices that it has lost its lease, and gives up the job. Then it goes on under another id, and still runs jobs of the
    # same task.
    wait_until(lambda: first.lines("lost its lease and registers again; jobs given up: 1"))
    third_id = wait_until(lambda: first.id(db) not in (None, first_id) and first.id(db))
    workers.all[1].end()
    next_id = enqueue(db, task, NEXT, inside=False)
    wait_until(lambda: state_of(db, next_id) == "completed")
    wait_until(lambda: no_transaction_open(db))

    assert all_rows(db, job_id) == before
    row = db.execute(
        "select lease_id, worker_id, attempt from pgqueue.jobs where id = %s", [job_id]
    ).fetchone()
    assert row
    assert row[1:] == (second_id, 2)
    assert db.execute("select lease_id from chk.effects where job_id = %s", [job_id]).fetchall() == [row[:1]]
    assert db.execute("select worker_id from pgqueue.jobs where id = %s", [next_id]).fetchone() == (third_id,)
    assert len({first_id, second_id, third_id}) == 3
    assert not first.lines("Traceback")


def handlers(db: Connection[Any], op: int) -> set[int]:
    """Returns the pids of the processes in which the first attempt of the job with this ``op`` has begun."""
    first = "select pid from chk.runs where op = %(op)s and lease_id = (select min(lease_id) from chk.runs where op = %(op)s)"
    return {pid for (pid,) in db.execute(first, {"op": op})}


def stop(db: Connection[Any], worker: WorkerProcess, op: int) -> None:
    """Sends SIGSTOP to the worker, and to its child process if the handler runs in one."""
    for pid in handlers(db, op) - {worker.pid}:
        send(pid, signal.SIGSTOP)
    worker.signal(signal.SIGSTOP)


def resume(db: Connection[Any], worker: WorkerProcess, op: int) -> None:
    for pid in handlers(db, op) - {worker.pid}:
        send(pid, signal.SIGCONT)
    worker.signal(signal.SIGCONT)


def no_transaction_open(db: Connection[Any]) -> bool:
    row = db.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pgqueue app'"
        " and xact_start is not null"
    ).fetchone()
    return row == (0,)


def test_a_zombie_completes_its_jobs_itself_if_no_other_worker_has_rescued_them(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    """The zombie registers under another id, rescues its jobs and runs them again."""
    worker, worker_id = workers.start_registered(*QUICK)
    with gate(workers.dsn, OP) as opened:
        job_id = enqueue(db, "hold_thread", OP, inside=True)
        wait_until(lambda: running_at_gate(db, OP))
        worker.signal(signal.SIGSTOP)
        wait_until(lambda: lease_is_over(db, worker_id))
        opened()
        worker.signal(signal.SIGCONT)
    wait_until(lambda: state_of(db, job_id) == "completed")
    wait_until(lambda: worker.id(db) not in (None, worker_id))


def lease_is_over(db: Connection[Any], worker_id: int) -> bool:
    row = db.execute(
        "select expires_at < clock_timestamp() from pgqueue.workers where id = %s", [worker_id]
    ).fetchone()
    return bool(row and row[0])
