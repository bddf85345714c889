"""A crash of a worker is counted for the jobs that ran in the worker itself. Suspects are jobs with a crash_count above 0. Each suspect runs in a separate process. For suspects, the crash is counted only if the worker ran no other jobs."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.worker_by_hand import Hand


def crashed(
    db: Connection[Any], counts: list[int], *, batch: int = 100, limit: int = 3
) -> list[tuple[str, int]]:
    """Lets one worker run all jobs and crash. Returns the state and the crash_count of each job after the crash. ``counts``: the crash_count of each job before the crash."""
    hand = Hand(db, ["t"])
    for count in counts:
        db.execute("insert into pgqueue.jobs (task, crash_count, max_attempts) values ('t', %s, 20)", [count])
    assert len(hand.claim(100)) == len(counts)
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    while run(db, statements.rescue(limit, batch)):
        pass
    return db.execute("select state, crash_count from pgqueue.jobs order by id").fetchall()


@pytest.mark.parametrize("batch", [100, 2, 1])
@pytest.mark.parametrize(
    ("counts", "after"),
    [
        ([0, 0], [("retrying", 1), ("retrying", 1)]),
        (
            [0, 2, 1, 0, 2],
            [("retrying", 1), ("retrying", 2), ("retrying", 1), ("retrying", 1), ("retrying", 2)],
        ),
        ([2, 1], [("dead", 3), ("retrying", 2)]),
    ],
    ids=["no suspect", "suspects ran in processes of their own", "only suspects"],
)
def test_a_crash_is_counted_for_suspects_only_if_the_worker_ran_no_other_jobs(
    db: Connection[Any], counts: list[int], after: list[tuple[str, int]], batch: int
) -> None:
    assert crashed(db, counts, batch=batch) == after


def test_the_jobs_of_one_crashed_worker_do_not_affect_the_counts_of_another_worker(
    db: Connection[Any],
) -> None:
    db.execute("insert into pgqueue.jobs (task, crash_count) values ('t', 1)")
    assert len(Hand(db, ["t"]).claim(1)) == 1
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    assert len(Hand(db, ["t"]).claim(1)) == 1
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    assert len(run(db, statements.rescue(3, 100))) == 2
    assert db.execute("select crash_count from pgqueue.jobs order by id").fetchall() == [(2,), (1,)]
