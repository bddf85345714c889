"""The tables of queues, workers, the leader, transitions and idempotency keys."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgqueue.schema.base import Moment, Word, column, metadata, partition

queues = Table(
    "queues",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    column("name", "queue_name"),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("retention", Interval, nullable=False, server_default=text("'7 days'")),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("max_age", Interval),
    CheckConstraint("max_age > interval '0'", "queues_max_age_check"),
    UniqueConstraint("name", name="queues_name_key"),
    CheckConstraint(
        "retention >= interval '0' and retention <= interval '1000 years'", "queues_retention_check"
    ),
)

workers = Table(
    "workers",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("started_at", Moment, nullable=False, server_default=text("now()")),
    Column("heartbeat_at", Moment, nullable=False, server_default=text("now()")),
    Column("expires_at", Moment, nullable=False),
    Column("stopped_at", Moment),
    Column("pid", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("state", Word, nullable=False, server_default=text("'running'")),
    Column("host", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("executor", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("tasks", ARRAY(Text), nullable=False),
    Column("queue_slots", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    Column("blocked_since", Moment),
    Column("blocked_by", ARRAY(BigInteger)),
    Column("app_version", Text),
    Column("accepts", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    CheckConstraint("state in ('running', 'draining', 'stopped', 'expired')", "workers_state_check"),
    CheckConstraint("slots >= 0", "workers_slots_check"),
)
Index(
    "workers_expires_at_idx",
    workers.c.expires_at,
    postgresql_where=workers.c.state.in_(["running", "draining"]),
)

leader = Table(
    "leader",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("worker_id", BigInteger, nullable=False),
    Column("expires_at", Moment, nullable=False),
    CheckConstraint("singleton", "leader_singleton_check"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("job_id", BigInteger, nullable=False),
    Column("lease_id", BigInteger, nullable=False),
    Column("worker_id", BigInteger),
    Column("run_at", Moment),
    Column("attempt", SmallInteger, nullable=False),
    Column("from_state", Word, nullable=False),
    Column("to_state", Word, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error", Text),
    Column("traceback", Text),
    postgresql_partition_by="RANGE (at)",
)
transitions_default = partition("transitions_default", transitions, "DEFAULT")
Index("transitions_job_id_idx", transitions.c.job_id, transitions.c.at)
Index("transitions_default_job_id_at_idx", transitions_default.c.job_id, transitions_default.c.at)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", Moment, nullable=False),
    column("task", "task_name"),
    column("key", "job_key"),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("state", Word),
    Column("result", JSONB),
    Column("error", Text),
    PrimaryKeyConstraint("task", "key", name="idempotency_keys_pkey"),
)
Index("idempotency_keys_expires_at_idx", idempotency_keys.c.expires_at)
Index("idempotency_keys_job_id_idx", idempotency_keys.c.job_id)
