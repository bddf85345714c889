"""The table of counts and times per minute or hour, queue and task."""

from __future__ import annotations

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

from pgqueue.schema.base import Moment, column, metadata

COUNTS = ("started", "completed", "retried", "dead", "cancelled", "put_back", "crashed")
NONE = text("'{}'")

stats = Table(
    "stats",
    metadata,
    Column("at", Moment, nullable=False),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTS),
    Column("wait_seconds", Double, nullable=False, server_default=text("0")),
    Column("run_seconds", Double, nullable=False, server_default=text("0")),
    Column("seconds", Integer, nullable=False, server_default=text("60")),
    column("queue", "queue_name"),
    column("task", "task_name"),
    Column("waits", ARRAY(Integer), nullable=False, server_default=NONE),
    Column("runs", ARRAY(Integer), nullable=False, server_default=NONE),
    PrimaryKeyConstraint("seconds", "at", "queue", "task", name="stats_pkey"),
    CheckConstraint("seconds in (60, 3600)", "stats_seconds_check"),
)
