"""The tables as SQLAlchemy sees them: for users' own queries, and for the test that finds drift from the migrations.

``select(jobs).where(jobs.c.state == "dead")`` reads all partitions. Only the migrations create anything; ``info`` says
what SQLAlchemy has no words for (partition bounds), so that the test can compare it too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

metadata = MetaData(schema="pgqueue")

Moment = DateTime(timezone=True)
Word = Text(collation="C")
NAME = "value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= {}"
DOCUMENT = "jsonb_typeof(value) = 'object' and pg_column_size(value) <= {}"


# What the database checks of a value, whoever writes it: the base type and the check of each domain.
DOMAINS: dict[str, tuple[TypeEngine[Any], str]] = {
    "queue_name": (Word, NAME.format(63)),
    "task_name": (Word, NAME.format(127)),
    "job_key": (Word, "octet_length(value) between 1 and 255"),
    "job_args": (JSONB(), DOCUMENT.format(2097152)),
    "job_meta": (JSONB(), DOCUMENT.format(524288)),
    "job_tags": (
        ARRAY(Text),
        "cardinality(value) <= 32 and array_position(value, null) is null and pg_column_size(value) <= 4096",
    ),
    "job_time": (Moment, "value >= '2000-01-01 00:00+00' and value < '3000-01-01 00:00+00'"),
    "job_timeout": (Interval(), "value > interval '0' and value <= interval '365 days'"),
    "attempts": (SmallInteger(), "value between 1 and 10000"),
    "job_weight": (SmallInteger(), "value between 1 and 1000"),
    "job_order": (Word, "value in ('block', 'skip')"),
}


def _column(name: str, domain: str, default: str | None = None, *, nullable: bool = False) -> Column[Any]:
    # SQLAlchemy's own DOMAIN type knows no operators, so users see the base type.
    column_default = None if default is None else text(default)
    return Column(
        name, DOMAINS[domain][0], nullable=nullable, server_default=column_default, info={"domain": domain}
    )


jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, nullable=False, server_default=text("nextval('pgqueue.jobs_id_seq')")),
    Column("lease_id", BigInteger, nullable=False, server_default=text("0")),
    Column("worker_id", BigInteger),
    _column("run_at", "job_time", "now()"),
    _column("created_at", "job_time", "now()"),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempt", SmallInteger, nullable=False, server_default=text("0")),
    _column("max_attempts", "attempts", "6"),
    Column("crash_count", SmallInteger, nullable=False, server_default=text("0")),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("state", Word, nullable=False, server_default=text("'pending'")),
    _column("queue", "queue_name", "'default'"),
    _column("task", "task_name"),
    _column("unique_key", "job_key", nullable=True),
    _column("concurrency_key", "job_key", nullable=True),
    _column("timeout", "job_timeout", nullable=True),
    _column("tags", "job_tags", "'{}'"),
    _column("args", "job_args", "'{}'"),
    _column("meta", "job_meta", "'{}'"),
    Column("trace_context", JSONB),
    Column("progress", JSONB),
    Column("result", JSONB),
    Column("last_error", Text),
    Column("last_traceback", Text),
    Column("expires_at", Moment),
    Column("deadline_at", Moment),
    _column("weight", "job_weight", nullable=True),
    _column("ordering", "job_order", nullable=True),
    Column("holds", ARRAY(Integer)),
    postgresql_partition_by="LIST (state)",
)


def _partition(name: str, of: Table, bound: str, partition_by: str | None = None) -> Table:
    table = of.to_metadata(metadata, name=name)
    table.dialect_options["postgresql"]["partition_by"] = partition_by
    table.info.update(partition_of=of.name, bound=bound)
    return table


jobs_live = _partition("jobs_live", jobs, "FOR VALUES IN ('pending', 'running', 'retrying', 'waiting')")
jobs_dead = _partition("jobs_dead", jobs, "FOR VALUES IN ('dead')")
jobs_done = _partition("jobs_done", jobs, "FOR VALUES IN ('completed', 'cancelled')", "RANGE (finished_at)")
jobs_done_default = _partition("jobs_done_default", jobs_done, "DEFAULT")

jobs_live.append_constraint(
    CheckConstraint(
        "finished_at is null and (state = 'running') = (worker_id is not null)", "jobs_live_shape_check"
    )
)
for finished in (jobs_dead, jobs_done, jobs_done_default):
    finished.c.finished_at.nullable = False

Index("jobs_live_id_key", jobs_live.c.id, unique=True)
Index("jobs_dead_id_key", jobs_dead.c.id, unique=True)
Index("jobs_dead_task_idx", jobs_dead.c.task, jobs_dead.c.finished_at)
Index("jobs_done_default_id_key", jobs_done_default.c.id, unique=True)
Index(
    "jobs_live_claim_idx",
    jobs_live.c.queue,
    jobs_live.c.priority,
    jobs_live.c.run_at,
    jobs_live.c.id,
    postgresql_where=jobs_live.c.state.in_(["pending", "retrying"]),
)
Index("jobs_live_worker_idx", jobs_live.c.worker_id, postgresql_where=jobs_live.c.worker_id.is_not(None))
Index("jobs_live_cancel_idx", jobs_live.c.worker_id, postgresql_where=jobs_live.c.cancel_requested)
Index(
    "jobs_live_unique_key",
    jobs_live.c.task,
    jobs_live.c.unique_key,
    unique=True,
    postgresql_where=jobs_live.c.unique_key.is_not(None),
)

queues = Table(
    "queues",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    _column("name", "queue_name"),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("retention", Interval, nullable=False, server_default=text("'7 days'")),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("max_age", Interval),
    CheckConstraint("max_age > interval '0'", "queues_max_age_check"),
    UniqueConstraint("name", name="queues_name_key"),
    CheckConstraint("retention >= interval '0'", "queues_retention_check"),
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
transitions_default = _partition("transitions_default", transitions, "DEFAULT")
Index("transitions_job_id_idx", transitions.c.job_id, transitions.c.at)
Index("transitions_default_job_id_at_idx", transitions_default.c.job_id, transitions_default.c.at)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", Moment, nullable=False),
    _column("task", "task_name"),
    _column("key", "job_key"),
    Column("fingerprint", LargeBinary, nullable=False),
    PrimaryKeyConstraint("task", "key", name="idempotency_keys_pkey"),
)
Index("idempotency_keys_expires_at_idx", idempotency_keys.c.expires_at)

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("first_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("last_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("resolved_at", Moment),
    Column("sent_at", Moment),
    Column("muted_until", Moment),
    Column("job_id", BigInteger),
    Column("count", Integer, nullable=False, server_default=text("1")),
    Column("messages", Integer, nullable=False, server_default=text("0")),
    Column("kind", Word, nullable=False),
    Column("subject", Word, nullable=False),
    Column("queue", Word),
    Column("text", Text, nullable=False),
    CheckConstraint("kind in ('dead', 'stalled', 'late')", "alerts_kind_check"),
    CheckConstraint("count > 0 and messages >= 0", "alerts_count_check"),
)
Index(
    "alerts_open_key",
    alerts.c.kind,
    alerts.c.subject,
    unique=True,
    postgresql_where=alerts.c.resolved_at.is_(None),
)
Index("alerts_subject_idx", alerts.c.kind, alerts.c.subject, alerts.c.resolved_at)
