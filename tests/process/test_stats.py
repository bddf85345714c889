"""Worker processes count their attempts in ``pgqueue.stats``, also if they are stopped, killed, or cannot write for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from psycopg import Connection

from tests.apps import counted_tasks
from tests.factories import add_jobs
from tests.process.worker_processes import QUICK, WorkerProcess, WorkerProcesses, unfinished
from tests.waiting import STARTS, wait_until

OPTIONS = (*counted_tasks.APP, *QUICK)
COUNTS = ("started", "completed", "retried", "dead", "cancelled", "put_back", "crashed")
SUMS = (
    "select task, "
    + ", ".join(f"sum({name})::int" for name in COUNTS)
    + ", bool_and((select coalesce(sum(n), 0) from unnest(waits) n) = started)"
    + " from pgqueue.stats group by task"
)


def sums(db: Connection[Any]) -> dict[str, dict[str, int]]:
    """Returns, for each task, the counts that are not 0. Each start has its wait in the histogram."""
    rows = db.execute(SUMS.encode()).fetchall()
    assert all(row[-1] for row in rows), rows
    return {
        row[0]: {name: count for name, count in zip(COUNTS, row[1:-1], strict=True) if count} for row in rows
    }


def stop(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGTERM)
    worker.wait()


def test_a_worker_counts_every_way_in_which_its_attempts_end(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    tasks = (
        "ok_async",
        "ok_thread",
        "ok_process",
        "own_commit",
        "chunked",
        "fails",
        "gives_up",
        "cancels",
        "snoozes",
        "crashes",
    )
    for task in tasks:
        add_jobs(db, task=task, count=5)
    worker = workers.start(
        *OPTIONS, "-c", "60"
    )  # as many slots as jobs, so that no job is released because it waited for a slot
    wait_until(lambda: unfinished(db) == 0, 2 * STARTS)
    stop(worker)
    five = {"started": 5, "completed": 5}
    assert sums(db) == {
        "ok_async": five,
        "ok_thread": five,
        "ok_process": five,
        "own_commit": five,
        "chunked": five,
        "fails": {"started": 10, "retried": 5, "dead": 5},
        "gives_up": {"started": 5, "dead": 5},
        "cancels": {"started": 5, "cancelled": 5},
        "snoozes": {"started": 10, "put_back": 5, "completed": 5},
        "crashes": {"started": 10, "retried": 5, "dead": 5, "crashed": 10},
    }


def test_the_times_are_those_of_the_jobs(db: Connection[Any], workers: WorkerProcesses) -> None:
    for task in ("ok_async", "ok_thread", "ok_process"):
        db.execute(
            "insert into pgqueue.jobs (task, args, run_at) values (%s, '{\"ms\": 300}', now() - interval '1 hour')",
            [task],
        )
    worker = workers.start(*OPTIONS)
    wait_until(lambda: unfinished(db) == 0, STARTS)
    stop(worker)
    rows = db.execute(
        "select task, wait_p50, run_p50, run_mean from pgqueue.throughput where completed = 1"
    ).fetchall()
    assert sorted(task for task, *_ in rows) == ["ok_async", "ok_process", "ok_thread"]
    for task, wait, run, mean in rows:
        assert 2048 <= wait <= 8192, task
        assert 0.25 <= run <= 2, task
        assert 0.3 <= mean <= 2, task


def test_a_working_worker_writes_its_counts_every_few_seconds(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    add_jobs(db, task="ok_async", count=3)
    workers.start(*OPTIONS)
    wait_until(lambda: sums(db) == {"ok_async": {"started": 3, "completed": 3}}, STARTS + 10)


def test_two_workers_and_their_supervisor_add_up_what_they_count(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    add_jobs(db, task="ok_async", count=400)
    supervisor = workers.start(*OPTIONS, "--processes", "2")
    wait_until(lambda: unfinished(db) == 0, STARTS)
    stop(supervisor)
    assert sums(db) == {"ok_async": {"started": 400, "completed": 400}}


def killed(db: Connection[Any], workers: WorkerProcesses, *options: str) -> None:
    """Starts a worker with a job that hangs, waits until the start is counted, and kills the process that runs the job."""
    add_jobs(db, task="hangs")
    workers.start(*OPTIONS, *options)
    wait_until(lambda: sums(db).get("hangs") == {"started": 1}, STARTS + 10)
    [(pid,)] = db.execute(
        "select w.pid from pgqueue.workers w join pgqueue.jobs_live j on j.worker_id = w.id"
    ).fetchall()
    os.kill(pid, signal.SIGKILL)


def test_the_leader_counts_what_it_rescues_from_a_killed_worker(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    killed(db, workers)
    workers.start(*OPTIONS, "--queues", "other")
    wait_until(lambda: sums(db).get("hangs") == {"started": 1, "retried": 1, "crashed": 1}, STARTS + 10)


def test_a_supervisor_counts_what_it_rescues_from_a_killed_worker(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    killed(db, workers, "--processes", "2", "--lease", "60", "--heartbeat", "5")

    def rescued() -> bool:
        found = sums(db).get("hangs", {})
        return (found.get("retried"), found.get("crashed")) == (1, 1)

    wait_until(rescued, 30)


def test_the_leader_counts_the_overdue_jobs_that_it_finishes(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute(
        "insert into pgqueue.jobs (task, queue, expires_at, deadline_at) values"
        " ('t', 'unserved', now() - interval '1 s', null), ('u', 'unserved', null, now() - interval '1 s')"
    )
    worker = workers.start(*OPTIONS, "--queues", "served")
    wait_until(lambda: unfinished(db) == 0, STARTS)
    stop(worker)
    assert sums(db) == {"t": {"cancelled": 1}, "u": {"dead": 1}}
    assert db.execute("select distinct queue from pgqueue.stats").fetchall() == [("unserved",)]


def test_a_worker_goes_on_while_the_table_is_locked_and_writes_its_counts_later(
    db: Connection[Any], workers: WorkerProcesses, connect: Callable[..., Connection[Any]]
) -> None:
    worker, _ = workers.start_registered(*OPTIONS)
    other = connect(autocommit=False)
    other.execute("lock table pgqueue.stats")
    refused = "select count(*) from pg_stat_activity where query like '%add_stats%' and datname = current_database() and pid <> pg_backend_pid()"
    for _ in range(3):
        add_jobs(db, task="ok_async", count=10)
        wait_until(lambda: unfinished(db) == 0, 20)
    wait_until(lambda: db.execute(refused.encode()).fetchone() != (0,), 20)
    add_jobs(db, task="ok_async", count=10)
    wait_until(lambda: unfinished(db) == 0, 20)
    other.rollback()
    wait_until(lambda: sums(db) == {"ok_async": {"started": 40, "completed": 40}}, 30)
    assert not worker.lines("ERROR")


def test_a_worker_without_the_rights_of_the_table_runs_its_jobs_and_says_what_is_lost_when_it_stops(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute("drop function pgqueue.add_stats")
    worker = workers.start(*OPTIONS)
    add_jobs(db, task="ok_async", count=7)
    wait_until(lambda: unfinished(db) == 0, STARTS)
    stop(worker)
    assert worker.lines("the counts of 14 starts and ends of attempts are missing in pgqueue.stats")
    assert sums(db) == {}
