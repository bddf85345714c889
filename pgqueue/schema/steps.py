"""The tables of checkpoints, signals and kept log lines. A checkpoint holds what a step of a job returned. A signal is sent to one job."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from pgqueue.schema.base import Moment, Word, column, metadata, partition

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("lease_id", BigInteger, nullable=False),
    Column("worker_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("fingerprint", BigInteger),
    Column("version", SmallInteger),
    Column("kind", Word, nullable=False),
    Column("name", Word, nullable=False),
    Column("key", Word, nullable=False, server_default=text("''")),
    column("value", "job_note"),
    PrimaryKeyConstraint("job_id", "name", "key", name="checkpoints_pkey"),
    CheckConstraint(
        "kind in ('step', 'effect', 'cursor', 'sleep', 'wait', 'gather')", "checkpoints_kind_check"
    ),
    CheckConstraint("octet_length(name) between 1 and 255", "checkpoints_name_check"),
    CheckConstraint("octet_length(key) <= 255", "checkpoints_key_check"),
    postgresql_partition_by="RANGE (job_id)",
)
checkpoints_default = partition("checkpoints_default", checkpoints, "DEFAULT")
checkpoints_default.primary_key.name = "checkpoints_default_pkey"

signals = Table(
    "signals",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("taken_by", BigInteger),
    Column("name", Word, nullable=False),
    Column("key", Word),
    Column("sender", Text),
    column("payload", "job_note", nullable=True),
    PrimaryKeyConstraint("id", name="signals_pkey"),
    CheckConstraint("octet_length(name) between 1 and 255", "signals_name_check"),
    CheckConstraint("octet_length(key) between 1 and 255", "signals_key_check"),
    CheckConstraint("octet_length(sender) between 1 and 255", "signals_sender_check"),
)
Index(
    "signals_key",
    signals.c.job_id,
    signals.c.name,
    signals.c.key,
    unique=True,
    postgresql_where=signals.c.key.is_not(None),
)
Index(
    "signals_untaken_idx",
    signals.c.job_id,
    signals.c.name,
    signals.c.id,
    postgresql_where=signals.c.taken_by.is_(None),
)
Index("signals_job_idx", signals.c.job_id)

job_lines = Table(
    "job_lines",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Column("level", Word, nullable=False),
    Column("logger", Text, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("job_id", "id", name="job_lines_pkey"),
    CheckConstraint("octet_length(level) <= 64", "job_lines_level_check"),
    CheckConstraint("octet_length(logger) <= 1024", "job_lines_logger_check"),
    CheckConstraint("octet_length(text) <= 32768", "job_lines_text_check"),
)
