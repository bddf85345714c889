"""The table of checkpoints. A checkpoint holds what a step of a job returned."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, PrimaryKeyConstraint, SmallInteger, Table, text

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
