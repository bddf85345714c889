"""While two workers run jobs, ``why`` returns no reason that contradicts a job's row. For each job that cannot start, it returns the cause."""

from __future__ import annotations

from collections import Counter
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.process.worker_processes import QUICK, WorkerProcesses, unfinished
from tests.waiting import STARTS, wait_until

MORE = (
    "select id, state, lease_id, attempt, run_at > clock_timestamp() from pgqueue.jobs where task <> 'nobody'"
)
ADD = """
insert into pgqueue.jobs (queue, task, args, concurrency_key, ordering, run_at, max_attempts)
select coalesce(%(queue)s, 'default'), coalesce(%(task)s, 'rest'), '{"ms": 20}', %(key)s, %(ordering)s,
       now() + make_interval(secs => coalesce(%(delay)s, 0)), 50
from generate_series(1, %(count)s) returning id
"""
# MAY_BE contains, for each state, the reasons that `why` can return for a job in this state. WAITS are the reasons for a job that is due.
WAITS = {"order", "rate", "limit", "busy", "queue_slots", "behind", "due"}
MAY_BE = {
    "pending": WAITS | {"paused", "no_worker", "unknown_task", "scheduled"},
    "retrying": WAITS | {"backoff"},
    "running": {"running"},
    "completed": {"completed"},
}


def add(db: Connection[Any], count: int = 1, **columns: Any) -> list[int]:
    names = ("queue", "task", "key", "ordering", "delay")
    rows = db.execute(ADD, dict.fromkeys(names) | columns | {"count": count}).fetchall()
    return [number for (number,) in rows]


def test_why_returns_the_right_reason_at_any_moment(db: Connection[Any], workers: WorkerProcesses) -> None:
    db.execute("insert into pgqueue.limits (per_key, key, concurrency) values (true, 'narrow', 1)")
    db.execute("insert into pgqueue.limits (per_key, key, concurrency) values (true, 'shut', 0)")
    db.execute("insert into pgqueue.limits (per_key, key, rate, period) values (true, 'slow', 1, '1 hour')")
    db.execute("insert into pgqueue.queues (name, paused) values ('closed', true)")
    db.execute("insert into pgqueue.pauses (task, key, until) values ('', 'quiet', now() + interval '1 h')")
    add(db, 60)
    add(db, 30, key="narrow")
    add(db, 30, task="falter")
    add(db, 20, task="falter", key="row", ordering="block")
    stuck = {
        "paused": add(db, queue="closed"),
        "no_worker": add(db, queue="elsewhere"),
        "unknown_task": add(db, task="nobody"),
        "scheduled": add(db, delay=3600),
        "limit": add(db, key="shut"),
    }
    _, *late = add(db, 2, key="slow")
    stuck["rate"] = late + add(db, key="quiet")
    for _ in range(2):
        workers.start(*QUICK, "-c", "4", "-Q", "default,closed")
    wait_until(lambda: db.execute("select count(*) from pgqueue.workers").fetchone() == (2,), STARTS)
    returned: Counter[str] = Counter()

    def only_stuck_jobs_are_left() -> bool:
        before = {row[0]: row[1:] for row in db.execute(MORE)}
        answers = {job: run(db, statements.why(job)).reason for job in list(before)[::7]}
        after = {row[0]: row[1:] for row in db.execute(MORE)}
        for job, reason in answers.items():
            if before[job] == after[job]:
                assert reason in MAY_BE[before[job][0]], (
                    f"why returned the reason {reason} for job {job}, which is {before[job][0]}"
                )
                returned[reason] += 1
        return unfinished(db) == sum(map(len, stuck.values()))

    wait_until(only_stuck_jobs_are_left, timeout=40)
    assert returned["completed"] > 0
    assert len(returned) > 5
    for reason, jobs in stuck.items():
        assert {run(db, statements.why(job)).reason for job in jobs} == {reason}
    db.execute("delete from pgqueue.limits")
    db.execute("delete from pgqueue.pauses")
    db.execute("update pgqueue.queues set paused = false")
    db.execute("update pgqueue.jobs_live set run_at = now(), queue = 'default', task = 'rest'")
    wait_until(lambda: unfinished(db) == 0)
