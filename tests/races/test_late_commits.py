"""A job is committed late if the cursor has already passed the job's position when its transaction commits. Claims begin at the cursor.

The claimer must find such a job even if it never looks behind the cursor. It does not look behind if that would take too long.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from psycopg import Connection

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import CLAIMING, run
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.claiming.cursors import START
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.claiming.late_commits import WATCH

INSERT = "insert into pgqueue.jobs_live (task, run_at) values ('a', clock_timestamp()) returning id"


def insert(db: Connection[Any]) -> int:
    row = db.execute(INSERT).fetchone()
    assert row
    return row[0]


def test_a_job_that_commits_behind_the_cursor_is_found_when_its_transaction_ends(
    dsn: str, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    asyncio.run(play(dsn, db, connect()))


async def play(dsn: str, db: Connection[Any], writer: Connection[Any]) -> None:
    taken: list[Attempt] = []
    settings = WorkerSettings(queues={"default": None}, concurrency=1000)
    link = Link(dsn, "test", Outage(dsn), session=CLAIMING)
    claimer = Claimer(link, settings, ["a"], InFlight(1000, settings.queues), taken.extend, lambda: 0)
    claimer.worker_id = run(
        db,
        statements.register_worker(
            host="h", pid=1, version="0", executor="async", slots=1, queues=["default"], tasks=["a"], lease_seconds=60
        ),
    )  # fmt: skip

    async def claim_until(condition: Callable[[], bool], *, work: bool) -> None:
        async with asyncio.timeout(20):
            while not condition():
                if work:
                    insert(db)
                await claimer._claim(100)

    insert(db)
    await claimer._claim(100)
    # From now on the claimer does not look behind, as if that took too long.
    claimer._late_commits.next_look_behind = math.inf
    with writer.transaction():
        late = insert(writer)
        await claim_until(
            lambda: any(age > WATCH for _, age in claimer._late_commits.writers.values()), work=True
        )
        cursor = claimer._lanes.cursors._cursors["default", 0]
        await claim_until(lambda: cursor.position > START and cursor.position[1] > late, work=True)
        assert late not in {attempt.id for attempt in taken}
    await claim_until(lambda: late in {attempt.id for attempt in taken}, work=False)
    assert claimer._late_commits.next_look_behind == math.inf
    await link.close()
