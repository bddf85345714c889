"""Which workers serve which queues: the statements about 1,000 queues and 100 workers say what ``is_served`` says, and call no function for it."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run

QUEUES = 1000
FLEETS = {
    "names": "(select array_agg('q' || (i * 10 + k) % 1000) from generate_series(0, 9) k)",
    "same": "array['q*']",
    "patterns": "array['q' || i, 'q' || i, 'q' || i % 10 || '*', 'x_y*', '*z']",
}


def fill(db: Connection[Any], queues: str) -> None:
    db.execute(
        "insert into pgqueue.queues (name) select 'q' || i from generate_series(0, %s) i on conflict do nothing",
        [QUEUES - 1],
    )
    db.execute("insert into pgqueue.queues (name) values ('xay'), ('x_y1'), ('az')")
    db.execute(
        "insert into pgqueue.jobs (task, queue) select 't' || right(name, 1), name from pgqueue.queues"
    )
    db.execute(
        "insert into pgqueue.workers (id, pid, slots, host, version, executor, queues, tasks, expires_at)"
        f" select i, 1, 10, 'h', '1', 'async', {queues}, array['t1', 't2'], now() + interval '1 h' from generate_series(1, 100) i".encode()
    )
    db.execute("update pgqueue.workers set expires_at = now() where id = 1")


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_counts_of_workers_are_those_of_is_served(db: Connection[Any], fleet: str) -> None:
    fill(db, FLEETS[fleet])
    living = "from pgqueue.workers w where pgqueue.is_served(q.name, w.queues) and w.expires_at > clock_timestamp()"
    wanted = {
        name: (workers, knows)
        for name, workers, knows in db.execute(
            f"select q.name, (select count(*) {living}), (select count(*) {living} and 't' || right(q.name, 1) = any(w.tasks)) > 0"
            " from pgqueue.queues q".encode()
        )
    }
    assert {one.queue: one.workers for one in run(db, statements.list_queues())} == {
        name: workers for name, (workers, _) in wanted.items()
    }
    assert {one.queue: one.workers for one in run(db, statements.count_queues())} == {
        name: workers for name, (workers, _) in wanted.items()
    }
    fronts = run(db, statements.watch_queues())
    assert len(fronts) == QUEUES  # it looks at so many lanes at most
    for front in fronts:
        workers, knows = wanted[front.queue]
        assert (front.queue_served, front.task_served) == (workers > 0, knows), front
    gaps = run(db, statements.find_unserved())
    assert gaps
    assert not [gap for gap in gaps if wanted[gap.queue][1]]
    assert all(gap.queue_served == (wanted[gap.queue][0] > 0) for gap in gaps)


@pytest.mark.parametrize("name", ["list_queues", "count_queues", "find_unserved", "watch_queues"])
def test_no_statement_calls_a_function_for_each_queue_and_worker(db: Connection[Any], name: str) -> None:
    """One call takes 5 µs, so 100,000 calls took half a second."""
    fill(db, FLEETS["patterns"])
    statement = getattr(statements, name)()
    db.execute("set track_functions = 'all'")
    run(db, statement)
    calls = "select coalesce(sum(pg_stat_get_xact_function_calls(p.oid)), 0) from pg_proc p where p.proname in ('is_served', 'serving_name')"
    with db.transaction():
        run(db, statement)
        assert db.execute(calls).fetchone() == (0,)
