"""No job starves: a job that has been due for longer than ``--patience`` is run, although the queue is full of more urgent jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.process.worker_processes import QUICK, WorkerProcesses
from tests.waiting import wait_until

URGENT, PATIENT = 4000, 60
STREAM = """
insert into pgqueue.jobs (task, args, priority)
select 'rest', '{"ms": 5}', %s from generate_series(1, %s)
"""


def unfinished(db: Connection[Any], priority: int) -> int:
    [(count,)] = db.execute("select count(*) from pgqueue.jobs_live where priority = %s", [priority])
    return int(count)


@pytest.mark.parametrize("patience", ["0.5", "3600"])
def test_many_urgent_jobs_delay_other_jobs_no_longer_than_patience(
    dsn: str, db: Connection[Any], tmp_path: Path, patience: str
) -> None:
    for priority, count in ((9, PATIENT), (-9, URGENT)):
        db.execute(STREAM, [priority, count])
    with WorkerProcesses(dsn, tmp_path) as workers:
        for _ in range(2):
            workers.start(*QUICK, "-c", "4", "--patience", patience)
        if patience == "3600":
            wait_until(lambda: unfinished(db, -9) < URGENT / 2)
            assert unfinished(db, 9) == PATIENT
        else:
            wait_until(lambda: unfinished(db, 9) == 0)
            assert unfinished(db, -9) > URGENT / 4
