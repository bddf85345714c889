"""The table of jobs, with its partitions and indexes."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DefaultClause,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgqueue.schema.base import Moment, Transaction, Word, column, metadata, partition

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, nullable=False, server_default=text("nextval('pgqueue.jobs_id_seq')")),
    column("lease_id", "job_lease", "0"),
    Column("worker_id", BigInteger),
    column("run_at", "job_time", "now()"),
    column("created_at", "job_time", "now()"),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    column("attempt", "job_count", "0"),
    column("max_attempts", "attempts", "6"),
    column("crash_count", "job_count", "0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("state", Word, nullable=False, server_default=text("'pending'")),
    column("queue", "queue_name", "'default'"),
    column("task", "task_name"),
    column("unique_key", "job_key", nullable=True),
    column("concurrency_key", "job_key", nullable=True),
    column("timeout", "job_timeout", nullable=True),
    column("tags", "job_tags", "'{}'"),
    column("args", "job_args", "'{}'"),
    column("meta", "job_meta", "'{}'"),
    column("trace_context", "job_note", nullable=True),
    column("progress", "job_note", nullable=True),
    Column("result", JSONB),
    Column("last_error", Text),
    Column("last_traceback", Text),
    column("expires_at", "job_bound", nullable=True),
    column("deadline_at", "job_bound", nullable=True),
    column("weight", "job_weight", nullable=True),
    column("ordering", "job_order", nullable=True),
    Column("seats_taken", ARRAY(Integer)),
    Column("parked", Boolean),
    Column("stored_by_pgqueue", Boolean),
    Column("undeclared", ARRAY(Text)),
    Column("workflow_id", BigInteger),
    Column("waits_for", ARRAY(Word)),
    Column("version", SmallInteger),
    Column("transaction_id", Transaction),
    postgresql_partition_by="LIST (state)",
)


jobs_live = partition("jobs_live", jobs, "FOR VALUES IN ('pending', 'running', 'retrying', 'waiting')")
jobs_dead = partition("jobs_dead", jobs, "FOR VALUES IN ('dead')")
jobs_done = partition("jobs_done", jobs, "FOR VALUES IN ('completed', 'cancelled')", "RANGE (finished_at)")
jobs_done_default = partition("jobs_done_default", jobs_done, "DEFAULT")

# The default of each of these columns is a mark, which is no real value. From the mark, the trigger in functions/fill_declared.sql sees
# that an INSERT left out the column, and replaces the mark. The partitions have the real defaults.
for name, mark in {
    "queue": "'pgqueue.declared'",
    "max_attempts": "'9999'",
    "priority": "'-32768'",
    "timeout": "'365 days'",
}.items():
    jobs.c[name].server_default = DefaultClause(text(mark))

# Only where jobs are stored: a job that ended was not enqueued by the transaction which moved its row.
for stored in (jobs, jobs_live):
    stored.c.transaction_id.server_default = DefaultClause(text("pg_current_xact_id()"))

jobs_live.append_constraint(
    CheckConstraint("(state = 'running') = (worker_id is not null)", "jobs_live_shape_check")
)
for finished in (jobs_dead, jobs_done, jobs_done_default):
    finished.c.finished_at.nullable = False

Index("jobs_live_id_key", jobs_live.c.id, unique=True)
Index("jobs_dead_id_key", jobs_dead.c.id, unique=True)
Index("jobs_dead_task_idx", jobs_dead.c.task, jobs_dead.c.finished_at)
Index("jobs_done_default_id_key", jobs_done_default.c.id, unique=True)
Index("jobs_live_undeclared_idx", jobs_live.c.task, postgresql_where=jobs_live.c.undeclared.is_not(None))
Index(
    "jobs_live_claim_idx",
    jobs_live.c.queue,
    jobs_live.c.priority,
    jobs_live.c.run_at,
    jobs_live.c.id,
    postgresql_where=jobs_live.c.state.in_(["pending", "retrying"])
    & jobs_live.c.concurrency_key.is_(None)
    & jobs_live.c.parked.is_(None),
)
IN_TURNS = text("state in ('pending', 'retrying') and (concurrency_key is not null or parked)")
Index(
    "jobs_live_key_idx",
    jobs_live.c.queue,
    jobs_live.c.priority,
    text("coalesce(concurrency_key, E'\\x01' || task)"),
    text("num_nonnulls(ordering)"),
    jobs_live.c.task,
    jobs_live.c.run_at,
    jobs_live.c.id,
    postgresql_where=IN_TURNS,
)
Index(
    "jobs_live_due_idx",
    jobs_live.c.queue,
    jobs_live.c.priority,
    jobs_live.c.run_at,
    jobs_live.c.id,
    # run_at is never null, so the last condition is always true. Only a statement that repeats this condition can use the index.
    postgresql_where=text(f"{IN_TURNS} and num_nonnulls(run_at) = 1"),
)
Index(
    "jobs_live_order_idx",
    jobs_live.c.queue,
    jobs_live.c.concurrency_key,
    jobs_live.c.id,
    postgresql_where=jobs_live.c.ordering.is_not(None) & jobs_live.c.concurrency_key.is_not(None),
)
Index(
    "jobs_dead_order_idx",
    jobs_dead.c.queue,
    jobs_dead.c.concurrency_key,
    postgresql_where=(jobs_dead.c.ordering == "block") & jobs_dead.c.concurrency_key.is_not(None),
)
Index("jobs_live_worker_idx", jobs_live.c.worker_id, postgresql_where=jobs_live.c.worker_id.is_not(None))
Index("jobs_live_cancel_idx", jobs_live.c.worker_id, postgresql_where=jobs_live.c.cancel_requested)
Index(
    "jobs_live_overdue_idx",
    func.least(jobs_live.c.expires_at, jobs_live.c.deadline_at),
    postgresql_where=text("state <> 'running' and (expires_at is not null or deadline_at is not null)"),
)
Index(
    "jobs_live_timer_idx",
    jobs_live.c.run_at,
    postgresql_where=text("state = 'waiting' and waits_for is not null"),
)
Index(
    "jobs_live_unique_key",
    jobs_live.c.task,
    jobs_live.c.unique_key,
    unique=True,
    postgresql_where=jobs_live.c.unique_key.is_not(None),
)
