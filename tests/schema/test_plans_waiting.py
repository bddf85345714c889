"""With 100,000 jobs that sleep and 100,000 that wait for a signal, a claim reads no more pages, and a wake-up reads only its own rows."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import PINNED, run
from pgqueue.sql import Statement
from tests.schema.test_plans_large import ALIVE, explained

MANY = 100_000
DUE = 2_000
LANES = [("default", 0)]
CLAIM = statements.claim(ALIVE, ["t"], LANES, [(0.0, 0)], 100)
SURVEY = statements.survey_lanes(LANES, [(0.0, 0)], [])


def pages(db: Connection[Any], statement: Statement[Any]) -> int:
    """Returns how many pages the statement reads at least.

    Executes the statement several times. The first time can also set hint bits. A snapshot of another session, such as an autovacuum, can
    keep the rows that an execution has rolled back, so that the next one reads these, too.
    """
    plans = [explained(db, statement, "analyze, buffers, timing off") for _ in range(4)]
    return min(int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"]) for plan in plans)


@pytest.mark.timeout(600)
def test_a_claim_reads_no_more_pages_because_many_jobs_sleep_or_wait(db: Connection[Any]) -> None:
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    db.execute(
        "insert into pgqueue.workers (id, expires_at, pid, slots, host, version, executor, queues, tasks)"
        " overriding system value values (%s, now() + interval '1 h', 1, 1, 'h', '0', 'async', '{}', '{}')",
        [ALIVE],
    )
    run(db, statements.add_partitions(1))
    store = "insert into pgqueue.jobs_live (queue, task, state, run_at, waits_for) select %s, 't', %s, {}, %s from generate_series(1, %s) i"
    due, later = "now() - make_interval(secs => i)", "now() + make_interval(secs => 3600 + i)"
    db.execute(store.format(due).encode(), ["default", "pending", None, DUE])
    # Without these, the indexes would have one level less before the other jobs come.
    db.execute(store.format(due).encode(), ["other", "pending", None, 2 * MANY])
    db.execute(PINNED)
    db.execute("vacuum analyze pgqueue.jobs_live")
    alone = {"claim": pages(db, CLAIM), "survey": pages(db, SURVEY)}

    db.execute(store.format(later).encode(), ["default", "pending", None, MANY])
    db.execute(store.format(later).encode(), ["default", "waiting", ["approved"], MANY])
    for case in ("never analyzed", "fresh"):
        if case == "fresh":
            db.execute("vacuum analyze pgqueue.jobs_live")
        beside = {"claim": pages(db, CLAIM), "survey": pages(db, SURVEY)}
        assert beside["claim"] <= 1.05 * alone["claim"], (case, alone, beside)
        assert beside["survey"] <= alone["survey"] + 5, (case, alone, beside)
        assert pages(db, statements.time_out_waits(500)) < 20, case
        assert pages(db, statements.choose_timed_out(500)) < 20, case

    db.execute(
        "update pgqueue.jobs_live set run_at = now() where id in (select id from pgqueue.jobs_live where state = 'waiting' limit 50)"
    )
    assert len(run(db, statements.choose_timed_out(500))) == 50
    [job_id] = run(db, statements.choose_timed_out(1))
    assert pages(db, statements.signal(job_id, "approved")) < 60, "a signal is delivered by id"
