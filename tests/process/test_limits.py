"""Limits, rates, shares and orderings with several worker processes. Some tests kill workers. The tests check the rows of the jobs."""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from typing import Any

import pytest
from psycopg import Connection

from tests.process.observed_runs import STEPS, assert_order_was_kept, most_at_once
from tests.process.worker_processes import QUICK, WorkerProcesses, unfinished
from tests.waiting import wait_until

ADD = """
insert into pgqueue.jobs (task, args, concurrency_key, weight, ordering, max_attempts)
select %(task)s, jsonb_build_object('ms', %(ms)s::int), %(key)s, %(weight)s, %(ordering)s, 50 from generate_series(1, %(count)s)
"""


def add(
    db: Connection[Any], count: int, *, key: str | None = None, task: str = "rest", ms: int = 5, **more: Any
) -> None:
    db.execute(
        ADD, {"task": task, "ms": ms, "key": key, "count": count, "weight": None, "ordering": None} | more
    )


def kill_one_now_and_then(workers: WorkerProcesses, db: Connection[Any], times: int, *options: str) -> None:
    """Waits until workers have finished some jobs, kills one of the workers, and starts a new worker. Does this ``times`` times."""
    for _ in range(times):
        before = unfinished(db)
        wait_until(lambda before=before: unfinished(db) < before - 20 or not unfinished(db))
        victim = random.choice([worker for worker in workers.all if worker.process.poll() is None])
        victim.signal(signal.SIGKILL)
        victim.wait()
        workers.start(*QUICK, *options)


def test_no_limit_is_exceeded_and_no_seat_is_lost_when_workers_die(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute("insert into pgqueue.limits (queue, concurrency) values ('default', 9)")
    db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 3)")
    db.execute("insert into pgqueue.limits (per_key, key, concurrency) values (true, 'narrow', 1)")
    db.execute("insert into pgqueue.limits (task, concurrency) values ('nap', 2)")
    for key in ("a", "b", "narrow", None):
        add(db, 60, key=key)
        add(db, 20, key=key, weight=2)
        add(db, 20, key=key, task="nap")
    for _ in range(2):
        workers.start(*QUICK, "-c", "10")
    kill_one_now_and_then(workers, db, 3, "-c", "10")
    wait_until(lambda: unfinished(db) == 0, timeout=60)
    assert most_at_once(db, lambda key, task: "queue")["queue"] <= 9
    most = most_at_once(db, lambda key, task: key)
    assert most["narrow"] == 1 or most["narrow"] == 2, "a job of weight 2 runs alone"
    assert most["a"] <= 3
    assert most["b"] <= 3
    assert max(most["a"], most["b"]) == 3, "the limit is used"
    assert most_at_once(db, lambda key, task: task if task == "nap" else None)["nap"] <= 2
    assert db.execute("select * from pgqueue.seats where taken <> 0").fetchall() == []


def test_no_rate_is_exceeded_in_any_window_and_each_rate_is_used_up(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute(
        "insert into pgqueue.limits (per_key, key, rate, period, sliding) values (true, 'window', 10, '1 s', true)"
    )
    db.execute(
        "insert into pgqueue.limits (per_key, key, rate, period, burst) values (true, 'bucket', 20, '1 s', 5)"
    )
    add(db, 35, key="window", ms=0)
    add(db, 60, key="bucket", ms=0)
    for _ in range(2):
        workers.start(*QUICK, "-c", "10")
    wait_until(lambda: unfinished(db) == 0)
    starts: dict[str, list[float]] = defaultdict(list)
    for key, at in db.execute(
        "select concurrency_key, date_part('epoch', started_at) from pgqueue.jobs"
    ).fetchall():
        starts[key].append(at)
    window, bucket = sorted(starts["window"]), sorted(starts["bucket"])
    assert len(window) == 35
    assert len(bucket) == 60
    for first in range(len(window)):
        assert sum(window[first] <= at < window[first] + 1.0 for at in window) <= 10 + 1
    for first in range(len(bucket)):
        for last in range(first, len(bucket)):
            assert last - first + 1 <= 5 + 20 * (bucket[last] - bucket[first]) + 1
    assert window[-1] - window[0] < 3.0 + 1.0
    assert bucket[-1] - bucket[0] < 55 / 20 + 1.0


@pytest.mark.parametrize("key", ["k", None])
def test_no_job_of_a_key_or_task_starts_during_the_pause_that_rate_limited_asks_for(
    db: Connection[Any], workers: WorkerProcesses, key: str | None
) -> None:
    add(db, 20, key=key, task="ask")
    add(db, 20, key="other")
    for _ in range(2):
        workers.start(*QUICK, "-c", "3")
    wait_until(lambda: unfinished(db) == 0)
    pauses = db.execute(
        "select date_part('epoch', at) from pgqueue.transitions where reason = 'rate_limited'"
    ).fetchall()
    assert len(pauses) == 4
    begun = [at for _, at, _, begins, _, task, _, _ in db.execute(STEPS) if begins and task == "ask"]
    # Each claim reads the pauses of keys, but a worker reads the pauses of tasks only when it reads the lanes.
    delay = 0.2 if key else 1.0
    for (paused,) in pauses:
        assert [at - paused for at in begun if paused + delay < at < paused + 0.49] == []
    assert db.execute("select max(attempt) from pgqueue.jobs where task = 'ask'").fetchone() == (1,)


def test_a_backlog_of_a_task_at_its_limit_does_not_delay_other_tasks_of_its_queue(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute("insert into pgqueue.limits (task, concurrency) values ('nap', 2)")
    add(db, 10_000, task="nap", ms=20)
    add(db, 200)
    for _ in range(2):
        workers.start(*QUICK, "-c", "10")
    wait_until(
        lambda: db.execute("select count(*) from pgqueue.jobs_live where task = 'rest'").fetchone() == (0,),
        timeout=20,
    )
    db.execute("delete from pgqueue.jobs_live where task = 'nap' and state <> 'running'")
    wait_until(lambda: unfinished(db) == 0)
    db.execute("delete from chk.events e where not exists (select from pgqueue.jobs j where j.id = e.job_id)")
    assert most_at_once(db, lambda key, task: task)["nap"] == 2


def test_a_key_with_a_share_of_four_gets_four_times_as_many_jobs_as_another_key(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    db.execute("insert into pgqueue.limits (per_key, key, share) values (true, 'b', 4)")
    for key in ("a", "b", "c"):
        add(db, 1500, key=key)
    for _ in range(2):
        workers.start(*QUICK, "-c", "6")
    wait_until(lambda: unfinished(db) < 3700)
    [(of_b, others)] = db.execute(
        "select count(*) filter (where concurrency_key = 'b'), count(*) filter (where concurrency_key <> 'b') / 2"
        " from pgqueue.jobs where finished_at is not null"
    ).fetchall()
    assert 3 < of_b / others < 5


@pytest.mark.parametrize("ordering", ["block", "skip"])
def test_jobs_with_an_ordering_run_in_order_even_if_jobs_are_retried_and_workers_are_killed(
    db: Connection[Any], workers: WorkerProcesses, ordering: str
) -> None:
    for _ in range(30):
        for key in ("a", "b", "c"):
            add(db, 1, key=key, ordering=ordering)
            add(db, 1, key=key, ordering=ordering, task="falter")
    for _ in range(2):
        workers.start(*QUICK, "-c", "5")
    kill_one_now_and_then(workers, db, 2, "-c", "5")
    wait_until(lambda: unfinished(db) == 0, timeout=60)
    assert assert_order_was_kept(db) == 180
    assert most_at_once(db, lambda key, task: key) == {"a": 1, "b": 1, "c": 1}


def test_a_long_backlog_of_one_key_does_not_delay_a_job_of_another_key(
    db: Connection[Any], workers: WorkerProcesses
) -> None:
    add(db, 3000, key="big")
    for _ in range(2):
        workers.start(*QUICK, "-c", "4")
    wait_until(lambda: unfinished(db) < 2800)
    [(late,)] = db.execute(
        "insert into pgqueue.jobs (task, args, concurrency_key) values ('rest', '{\"ms\": 0}', 'small') returning id"
    ).fetchall()
    db.execute("select pgqueue.wake('default')")
    wait_until(
        lambda: db.execute("select started_at from pgqueue.jobs where id = %s", [late]).fetchone() != (None,)
    )
    [(between,)] = db.execute(
        "select count(*) from pgqueue.jobs b join pgqueue.jobs s on s.id = %s"
        " where b.concurrency_key = 'big' and b.started_at between s.created_at and s.started_at", [late]
    ).fetchall()  # fmt: skip
    assert between < 100, "more than one turn of the other key came first"
    assert unfinished(db) > 1000
