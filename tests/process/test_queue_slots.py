"""A queue with a number of slots (`-Q mail:20`) never uses more slots than that. A slot that is free again gets another job immediately."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.process.worker_processes import WorkerProcesses, enqueue, unfinished
from tests.waiting import wait_until

MOST_AT_ONCE = """
select max(beside) from (
    select count(*) as beside from pgqueue.jobs a
    join pgqueue.jobs b on b.started_at <= a.started_at and b.finished_at > a.started_at
    where a.queue = 'narrow' and b.queue = 'narrow' group by a.id) n
"""


def test_free_slots_of_a_queue_get_jobs_before_the_next_poll(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    for op in range(60):
        enqueue(db, "mail_async", op, effect=False, ms=2)
    db.execute("update pgqueue.jobs_live set queue = 'narrow'")

    workers.start("-Q", "narrow:3,default", "-c", "20", "--poll", "30")
    wait_until(lambda: not unfinished(db), timeout=20)

    (most,) = db.execute(MOST_AT_ONCE).fetchone() or (None,)
    assert most == 3


def test_why_and_the_row_of_the_worker_show_how_many_slots_of_a_queue_are_taken(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    for op in range(2):
        enqueue(db, "mail_async", op, effect=False, ms=60_000)
    db.execute("update pgqueue.jobs_live set queue = 'narrow'")
    workers.start("-Q", "narrow:1,default:2", "-c", "3")
    wait_until(lambda: db.execute("select from pgqueue.jobs_live where state = 'running'").fetchone() == ())

    [(first, second)] = db.execute("select min(id), max(id) from pgqueue.jobs_live").fetchall()
    said = run(db, statements.why(second))
    assert said.reason == "queue_slots"
    assert f"1 of 1 taken, the longest by job {first} since " in said.sentence
    [row] = run(db, statements.list_workers(False))
    assert (row.queues[:2], row.queue_slots[:2], row.queue_taken[:2]) == (
        ["narrow", "default"],
        [1, 2],
        [1, 0],
    )
