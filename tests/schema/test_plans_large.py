"""With a million jobs in the table, every hot statement uses its index and reads only a few rows, whatever statistics the planner has.

The hot statements are those that workers run all the time. All cases are in one test, because it takes long to fill the table. The
plans are those that a worker gets: generic plans, in a session with a worker's settings (``PINNED``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection, sql

from pgqueue.database import statements
from pgqueue.database.for_sqlalchemy import PARAMETER
from pgqueue.database.run import PINNED, run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.sql import Statement
from tests.schema.test_plans import HOT, SAMPLES

ROWS = 1_000_000
MOST = 50  # a statement touches at most this many buffers for each row that it returns
ALIVE, EXPIRED = 1, 2  # the ids of two workers: the lease of the worker EXPIRED has run out

Plan = dict[str, Any]


def fill(db: Connection[Any], count: int) -> None:
    """Stores jobs in two queues with three priorities. One job in a hundred is running, and the others are pending.

    Half of the running jobs belong to a worker whose lease has run out.
    """
    db.execute(
        "insert into pgqueue.jobs_live (task, queue, priority, run_at, state, worker_id, attempt, cancel_requested)"
        " select 'a', (array['default', 'mail'])[1 + i %% 2], i %% 3, now() - make_interval(secs => i),"
        " case when i %% 100 = 0 then 'running' else 'pending' end, case when i %% 100 = 0 then 1 + i / 100 %% 2 end,"
        " (i %% 100 = 0)::int,"
        " i %% 50000 = 0 from generate_series(1, %s) i",
        [count],
    )


def fill_quickly(db: Connection[Any], count: int) -> None:
    """Fills the table as ``fill`` does. To be quicker, it drops the indexes first, and makes them again at the end."""
    indexes = db.execute(
        "select indexname, indexdef from pg_indexes where schemaname = 'pgqueue' and tablename = 'jobs_live'"
    ).fetchall()
    for name, _ in indexes:
        db.execute(sql.SQL("drop index pgqueue.{}").format(sql.Identifier(name)))
    fill(db, count)
    for _, definition in indexes:
        db.execute(definition.encode())


def hot(db: Connection[Any]) -> dict[str, Statement[Any]]:
    """Returns the samples of the hot statements. In ``complete`` and ``settle``, the ids are those of running jobs."""
    running = db.execute(
        "select id from pgqueue.jobs_live where worker_id = %s and not cancel_requested order by id limit 20",
        [ALIVE],
    ).fetchall()
    snoozed = [(job_id, 0, Outcome.snoozed(1.0) if job_id % 2 else COMPLETED) for (job_id,) in running]
    return {name: SAMPLES[name] for name in HOT} | {
        "complete": statements.complete(ALIVE, [(job_id, 0, True) for (job_id,) in running]),
        "complete_nodes": statements.complete_nodes(
            ALIVE, [(job_id, 0, True, None) for (job_id,) in running]
        ),
        "settle": statements.settle(ALIVE, snoozed),
    }


def explained(db: Connection[Any], statement: Statement[Any], options: str) -> Plan:
    """Returns the generic plan, which a worker's prepared statement gets. If the statement is executed, its changes are rolled back."""
    names = list(dict.fromkeys(PARAMETER.findall(statement.text)))
    text = PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement.text).replace("%%", "%")
    values = sql.SQL(", ").join(sql.Literal(statement.parameters[name]) for name in names)
    with db.transaction(force_rollback=True):
        db.execute(f"prepare hot as {text}".encode())
        given = sql.SQL("({})").format(values) if names else sql.SQL("")
        asked = sql.SQL("explain ({}, format json) execute hot {}").format(sql.SQL(options), given)
        [[[found]]] = db.execute(asked).fetchall()
        db.execute("deallocate hot")
    plan: Plan = found["Plan"]
    return plan


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def check(db: Connection[Any], case: str, *, executed: bool = True) -> None:
    for name, statement in hot(db).items():
        plan = explained(db, statement, "analyze, buffers, timing off" if executed else "costs")
        read = [node for node in nodes(plan) if node.get("Relation Name") == "jobs_live"]
        kinds = {node["Node Type"] for node in read}
        used = {node["Index Name"] for node in nodes(plan) if "Index Name" in node} | kinds
        assert kinds <= {"Index Scan", "Index Only Scan", "Tid Scan", "ModifyTable"}, (case, name, kinds)
        indexes = {part for part in HOT[name] if "SubPlan" not in part}  # the plans as text show subplans
        assert used >= indexes, (case, name, used)
        if executed:
            touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            assert touched <= MOST * max(1, plan["Actual Rows"]), (case, name, touched, plan["Actual Rows"])


@pytest.mark.timeout(900)
def test_the_hot_statements_keep_their_plans_over_a_million_jobs(db: Connection[Any]) -> None:
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    db.execute(
        "insert into pgqueue.workers (id, expires_at, pid, slots, host, version, executor, queues, tasks)"
        " overriding system value select n, now() + (interval '1 h' * case n when %s then 1 else -1 end),"
        " 1, 1, 'h', '0', 'async', '{}', '{}' from unnest(%s::int[]) n",
        [ALIVE, [ALIVE, EXPIRED]],
    )
    run(db, statements.add_partitions(1))
    fill_quickly(db, ROWS)
    db.execute(PINNED)
    assert len(run(db, SAMPLES["survey_lanes"]).lanes) == 6

    check(db, "never analyzed")

    # ANALYZE writes its count of rows outside of the transaction, so the rollback does not undo it.
    with db.transaction(force_rollback=True):
        db.execute("delete from pgqueue.jobs_live")
        db.execute("analyze pgqueue.jobs_live")
    [(believed,)] = db.execute("select reltuples from pg_class where oid = 'pgqueue.jobs_live'::regclass")
    assert believed == 0
    check(db, "analyzed while it was empty")

    db.execute("vacuum analyze pgqueue.jobs_live")
    check(db, "fresh")

    db.execute("delete from pgqueue.jobs_live")
    fill(db, 2000)
    check(db, "analyzed while it was full, then emptied", executed=False)
    db.execute("vacuum pgqueue.jobs_live")
    check(db, "vacuumed, but analyzed while it was full")
