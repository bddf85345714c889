"""The table of alerts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from pgqueue.schema.base import Moment, Word, metadata

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
