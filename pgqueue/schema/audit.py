"""The tables of operators' actions: what was done by whom, and what an undo needs."""

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
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgqueue.schema.base import Moment, Word, metadata

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("undo_until", Moment),
    Column("operation", BigInteger),
    Column("undoes", BigInteger),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("seen", Integer, nullable=False, server_default=text("0")),
    Column("is_last", Boolean, nullable=False, server_default=text("true")),
    Column("role", Word, nullable=False, server_default=text("session_user")),
    Column("actor", Text, nullable=False),
    Column("source", Word, nullable=False),
    Column("action", Word, nullable=False),
    Column("about", JSONB, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("refused", JSONB),
    Column("job_ids", ARRAY(BigInteger)),
    PrimaryKeyConstraint("id", name="audit_pkey"),
    CheckConstraint("changed >= 0 and seen >= 0", "audit_changed_check"),
    CheckConstraint("octet_length(actor) between 1 and 255", "audit_actor_check"),
    CheckConstraint("source in ('sql', 'cli', 'web', 'api', 'tui', 'mcp')", "audit_source_check"),
    CheckConstraint("octet_length(action) between 1 and 63", "audit_action_check"),
)
Index("audit_at_idx", audit.c.at)
Index("audit_operation_idx", audit.c.operation, postgresql_where=audit.c.operation.is_not(None))
Index("audit_undoes_idx", audit.c.undoes, postgresql_where=audit.c.undoes.is_not(None))
Index("audit_job_ids_idx", audit.c.job_ids, postgresql_using="gin")

undo_rows = Table(
    "undo_rows",
    metadata,
    Column("audit_id", BigInteger, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("before", JSONB, nullable=False),
    PrimaryKeyConstraint("audit_id", "job_id", name="undo_rows_pkey"),
)
Index("undo_rows_job_id_idx", undo_rows.c.job_id)
