"""The tables of limits, of the seats and starts that count towards them, and of pauses."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Interval,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from pgqueue.schema.base import Moment, Word, column, metadata

limits = Table(
    "limits",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("concurrency", Integer),
    Column("rate", Integer),
    Column("burst", Integer),
    Column("share", Integer),
    Column("per_key", Boolean, nullable=False, server_default=text("false")),
    Column("sliding", Boolean, nullable=False, server_default=text("false")),
    Column("period", Interval),
    column("queue", "queue_name", nullable=True),
    column("task", "task_name", nullable=True),
    column("key", "job_key", nullable=True),
    UniqueConstraint(
        "queue",
        "task",
        "per_key",
        "key",
        "sliding",
        name="limits_scope_key",
        postgresql_nulls_not_distinct=True,
    ),
    CheckConstraint("num_nonnulls(concurrency, rate, share) >= 1", "limits_kind_check"),
    CheckConstraint("concurrency between 0 and 1000000000", "limits_concurrency_check"),
    CheckConstraint(
        "rate between 1 and 1000000000 and (rate is null) = (period is null) and period / rate >= interval '1 microsecond'",
        "limits_rate_check",
    ),
    CheckConstraint("period between interval '1 millisecond' and interval '365 days'", "limits_period_check"),
    CheckConstraint(
        "burst is null or (burst between 1 and 1000000000 and rate is not null and not sliding)",
        "limits_burst_check",
    ),
    CheckConstraint(
        "share is null or (share >= 1 and share <= 1000 and key is not null and task is null)",
        "limits_share_check",
    ),
    CheckConstraint("key is null or per_key", "limits_key_check"),
)
seats = Table(
    "seats",
    metadata,
    Column("limit_id", Integer, nullable=False),
    Column("taken", Integer, nullable=False, server_default=text("0")),
    Column("wanted", Integer, nullable=False, server_default=text("1")),
    Column("full_at", Moment),
    Column("free_at", Moment),
    Column("key", Word, nullable=False),
    PrimaryKeyConstraint("limit_id", "key", name="seats_pkey"),
    CheckConstraint("taken >= 0", "seats_taken_check"),
)
Index("seats_free_at_idx", seats.c.free_at, postgresql_where=seats.c.free_at.is_not(None))
starts = Table(
    "starts",
    metadata,
    Column("limit_id", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Column("key", Word, nullable=False),
)
Index("starts_at_idx", starts.c.limit_id, starts.c.key, starts.c.at)

pauses = Table(
    "pauses",
    metadata,
    Column("until", Moment, nullable=False),
    Column("task", Word, nullable=False),
    Column("key", Word, nullable=False),
    PrimaryKeyConstraint("task", "key", name="pauses_pkey"),
)
