"""Runs schedulers at moments that the test chooses, so that no test has to wait until a schedule is due."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.maintenance.scheduler import Scheduler
from pgqueue.model.outcome import COMPLETED
from tests.worker_by_hand import Hand

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def play(dsn: str, moments: Iterable[datetime], *, count: int = 1, grace: float = 60.0) -> None:
    """For each moment, runs ``count`` schedulers side by side, until none of them has anything left to do at that moment."""

    async def run() -> None:
        links = [Link(dsn, "pgqueue schedules", Outage(dsn)) for _ in range(count)]
        schedulers = [Scheduler(link, grace=grace) for link in links]
        for moment in moments:
            while 0.0 in await asyncio.gather(*(scheduler.turn(moment) for scheduler in schedulers)):
                pass
        for link in links:
            await link.close()

    asyncio.run(run())


def add(
    db: Connection[Any], name: str, *, edited_at: datetime = NOON - timedelta(hours=1), **columns: Any
) -> int:
    """Stores a schedule as if this were done at the time ``edited_at``; returns the schedule's id."""
    columns = {"task": "t", "edited_at": edited_at, **columns}
    columns = {
        column: Jsonb(value) if isinstance(value, dict) else value for column, value in columns.items()
    }
    row = db.execute(
        f"insert into pgqueue.schedules (name, {', '.join(columns)}) values (%s, {', '.join(['%s'] * len(columns))}) returning id".encode(),
        [name, *columns.values()],
    ).fetchone()
    assert row
    return row[0]


def runs(db: Connection[Any], name: str) -> list[tuple[datetime, str]]:
    """Returns (fire time, state) of each run of a schedule."""
    return db.execute(
        "select r.fire_at, r.state from pgqueue.schedule_runs r join pgqueue.schedules s on s.id = r.schedule_id"
        " where s.name = %s order by 1",
        [name],
    ).fetchall()


def jobs(db: Connection[Any], name: str) -> list[int]:
    """Returns the ids of a schedule's jobs, in the order of their fire times."""
    rows = db.execute(
        "select id from pgqueue.jobs where meta ->> 'schedule' = %s order by (meta ->> 'fire_at')::timestamptz, id",
        [name],
    )
    return [job_id for (job_id,) in rows]


def overview(db: Connection[Any], name: str, columns: str) -> tuple[Any, ...]:
    row = db.execute(
        f"select {columns} from pgqueue.schedule_overview where name = %s".encode(), [name]
    ).fetchone()
    assert row
    return row


def finish(db: Connection[Any], hand: Hand) -> None:
    """Claims all due jobs with this worker, and completes them."""
    for attempt in hand.claim():
        assert hand.settle(attempt, COMPLETED)
