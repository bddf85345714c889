"""The tables of schedules, of their runs, and of the tasks that apps declare."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Interval,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgqueue.schema.base import Moment, column, metadata

schedules = Table(
    "schedules",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    column("name", "task_name"),
    column("task", "task_name"),
    Column("cron", Text),
    Column("every", Interval),
    column("at", "job_time", nullable=True),
    column("anchor", "job_time", "date_trunc('second', now())"),
    Column("tz", Text, nullable=False, server_default=text("'UTC'")),
    Column("overlap", Text, nullable=False, server_default=text("'queue'")),
    Column("missed", Text, nullable=False, server_default=text("'once'")),
    Column("missed_cap", SmallInteger, nullable=False, server_default=text("100")),
    Column("jitter", Interval, nullable=False, server_default=text("'0'")),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    column("args", "job_args", "'{}'"),
    column("options", "job_meta", "'{}'"),
    Column("source", Text, nullable=False, server_default=text("'sql'")),
    Column("app", Text),
    Column("digest", Text),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    column("edited_at", "job_time", "clock_timestamp()"),
    Column("planned", Boolean, nullable=False, server_default=text("false")),
    column("next_at", "job_time", nullable=True),
    Column("problem", Text),
    UniqueConstraint("name", name="schedules_name_key"),
    CheckConstraint("num_nonnulls(cron, every, at) = 1", "schedules_kind_check"),
    CheckConstraint("octet_length(cron) between 1 and 255", "schedules_cron_check"),
    CheckConstraint("octet_length(tz) between 1 and 64", "schedules_tz_check"),
    CheckConstraint(
        "every >= interval '1 second' and every <= interval '365 days'"
        " and date_part('month', every) = 0 and date_part('year', every) = 0",
        "schedules_every_check",
    ),
    CheckConstraint("overlap in ('queue', 'skip', 'cancel-old', 'allow')", "schedules_overlap_check"),
    CheckConstraint(
        "missed in ('once', 'skip', 'all') and missed_cap between 1 and 1000", "schedules_missed_check"
    ),
    CheckConstraint("jitter >= interval '0' and jitter <= interval '1 day'", "schedules_jitter_check"),
    CheckConstraint("source in ('sql', 'cli', 'code')", "schedules_source_check"),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule_id", BigInteger, nullable=False),
    Column("fire_at", Moment, nullable=False),
    Column("job_id", BigInteger),
    Column("enqueued_at", Moment),
    Column("missed_since", Moment),
    Column("state", Text, nullable=False, server_default=text("'enqueued'")),
    Column("manual", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("schedule_id", "fire_at", name="schedule_runs_pkey"),
    ForeignKeyConstraint(
        ["schedule_id"],
        ["pgqueue.schedules.id"],
        name="schedule_runs_schedule_id_fkey",
        ondelete="CASCADE",
    ),
    CheckConstraint(
        "state in ('enqueued', 'waiting', 'skipped', 'missed', 'duplicate')", "schedule_runs_state_check"
    ),
)
Index(
    "schedule_runs_job_idx",
    schedule_runs.c.schedule_id,
    schedule_runs.c.fire_at,
    postgresql_where=schedule_runs.c.job_id.is_not(None),
)
Index(
    "schedule_runs_waiting_idx",
    schedule_runs.c.schedule_id,
    schedule_runs.c.fire_at,
    postgresql_where=schedule_runs.c.state == "waiting",
)

schedule_sets = Table(
    "schedule_sets",
    metadata,
    Column("app", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("tasks", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("app", "fingerprint", name="schedule_sets_pkey"),
)

tasks = Table(
    "tasks",
    metadata,
    column("name", "task_name"),
    Column("app", Text, nullable=False),
    column("options", "job_meta", "'{}'"),
    Column("keep", Text, nullable=False, server_default=text("'all'")),
    Column("digest", Text, nullable=False),
    Column("former_digests", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("since", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("seen_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("redact", JSONB),
    PrimaryKeyConstraint("name", name="tasks_pkey"),
    CheckConstraint("keep in ('all', 'failures', 'none')", "tasks_keep_check"),
)
