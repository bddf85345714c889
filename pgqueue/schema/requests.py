"""The table of what people ask running workers, with the answers."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from pgqueue.schema.base import Moment, Word, metadata

worker_requests = Table(
    "worker_requests",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("answered_at", Moment),
    Column("worker_id", BigInteger, nullable=False),
    Column("request", Word, nullable=False),
    Column("answer", Text),
    PrimaryKeyConstraint("id", name="worker_requests_pkey"),
    CheckConstraint("request in ('quiet', 'stop', 'stacks')", "worker_requests_request_check"),
    CheckConstraint("octet_length(answer) <= 262144", "worker_requests_answer_check"),
)
Index(
    "worker_requests_worker_id_idx",
    worker_requests.c.worker_id,
    postgresql_where=worker_requests.c.answered_at.is_(None),
)
