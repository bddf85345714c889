"""Makes day tables of past and future days, and jobs that finished on past days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

PARENTS = {"jobs_done": "finished_at", "transitions": "at"}


def name_of(ago: int, parent: str = "jobs_done") -> str:
    """Returns the name of the day table for the day that was ``ago`` days ago. A negative ``ago`` means a day in the future."""
    return f"{parent}_{datetime.now(UTC) - timedelta(days=ago):%Y%m%d}"


def make_days(db: Connection[Any], *ago: int) -> None:
    """Makes the day tables of these days, for finished jobs and for transitions, as the leader does before a day begins."""
    for day in ago:
        first = (datetime.now(UTC) - timedelta(days=day)).date()
        for parent in PARENTS:
            table = f"pgqueue.{name_of(day, parent)}"
            db.execute(
                f"create table {table} partition of pgqueue.{parent}"
                f" for values from ('{first} 00:00+00') to ('{first + timedelta(days=1)} 00:00+00')".encode()
            )
            if parent == "jobs_done":
                db.execute(f"create unique index {name_of(day)}_id_key on {table} (id)".encode())


def finish(db: Connection[Any], ago: int, count: int = 1, queue: str = "default") -> list[int]:
    """Makes jobs that completed ``ago`` days ago; returns their ids. Fills all columns, as a worker does, so no trigger looks for defaults in other day tables."""
    rows = db.execute(
        "insert into pgqueue.jobs (task, queue, state, max_attempts, priority, timeout, finished_at)"
        " select 't', %s, 'completed', 6, 0, null, clock_timestamp() - make_interval(days => %s)"
        " from generate_series(1, %s)"
        " returning id",
        [queue, ago, count],
    )
    return [row[0] for row in rows]


def days(db: Connection[Any], parent: str = "jobs_done") -> list[int]:
    """Returns the days whose day tables are attached, the oldest day first. Each day is given as a number: how many days ago it was."""
    rows = db.execute(
        "select (clock_timestamp() at time zone 'UTC')::date - d.day from pgqueue.day_tables() d"
        " where d.parent = %s and d.attached order by d.day",
        [parent],
    )
    return [row[0] for row in rows]


def places(db: Connection[Any]) -> dict[int, str]:
    """Returns, by the id of each finished job, the name of the table that contains the job."""
    return dict(db.execute("select id, tableoid::regclass::text from pgqueue.jobs_done").fetchall())
