"""The table of counts and times per minute or hour, queue and task."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Integer,
    PrimaryKeyConstraint,
    Table,
    text,
)

from pgqueue.schema.base import Moment, Word, column, metadata

COUNTS = ("started", "completed", "retried", "dead", "cancelled", "put_back", "crashed")
NONE = text("'{}'")


def _counts() -> list[Column[Any]]:
    return [
        Column("at", Moment, nullable=False),
        *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTS),
        Column("wait_seconds", Double, nullable=False, server_default=text("0")),
        Column("run_seconds", Double, nullable=False, server_default=text("0")),
        Column("seconds", Integer, nullable=False, server_default=text("60")),
    ]


stats = Table(
    "stats",
    metadata,
    *_counts(),
    column("queue", "queue_name"),
    column("task", "task_name"),
    Column("waits", ARRAY(Integer), nullable=False, server_default=NONE),
    Column("runs", ARRAY(Integer), nullable=False, server_default=NONE),
    PrimaryKeyConstraint("seconds", "at", "queue", "task", name="stats_pkey"),
    CheckConstraint("seconds in (60, 3600)", "stats_seconds_check"),
)

# '' stands for all queues or all tasks.
stats_totals = Table(
    "stats_totals",
    metadata,
    *_counts(),
    Column("queue", Word, nullable=False, server_default=text("''")),
    Column("task", Word, nullable=False, server_default=text("''")),
    Column("waits", ARRAY(Integer), nullable=False, server_default=NONE),
    Column("runs", ARRAY(Integer), nullable=False, server_default=NONE),
    PrimaryKeyConstraint("queue", "task", "seconds", "at", name="stats_totals_pkey"),
    CheckConstraint("seconds in (60, 900, 3600)", "stats_totals_seconds_check"),
)
