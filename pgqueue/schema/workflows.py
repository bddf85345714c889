"""The tables of workflows: which jobs wait for which, and how each of them ended."""

from __future__ import annotations

from sqlalchemy import (
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

from pgqueue.schema.base import Moment, Word, column, metadata

workflows = Table(
    "workflows",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("stopped_at", Moment),
    Column("name", Word, nullable=False),
    Column("key", Word),
    Column("on_failure", Word, nullable=False, server_default=text("'cancel'")),
    Column("stop_reason", Word),
    column("meta", "job_meta", "'{}'"),
    Column("parent_job", BigInteger),
    Column("undone_at", Moment),
    Column("sealed_at", Moment),
    Column("ended_at", Moment),
    Column("at_once", Integer),
    Column("follow_ups", JSONB),
    Column("kind", Word, nullable=False, server_default=text("'graph'")),
    PrimaryKeyConstraint("id", name="workflows_pkey"),
    CheckConstraint("octet_length(name) between 1 and 255", "workflows_name_check"),
    CheckConstraint("octet_length(key) between 1 and 255", "workflows_key_check"),
    CheckConstraint("on_failure in ('cancel', 'stop', 'continue')", "workflows_on_failure_check"),
    CheckConstraint(
        "stop_reason in ('workflow_cancelled', 'workflow_failed')", "workflows_stop_reason_check"
    ),
    CheckConstraint("kind in ('graph', 'batch', 'children')", "workflows_kind_check"),
    CheckConstraint("at_once > 0", "workflows_at_once_check"),
)
Index(
    "workflows_key",
    workflows.c.name,
    workflows.c.key,
    unique=True,
    postgresql_where=workflows.c.key.is_not(None),
)
Index(
    "workflows_stopping_idx",
    workflows.c.id,
    postgresql_where=workflows.c.stop_reason.is_not(None) & workflows.c.stopped_at.is_(None),
)
Index("workflows_created_idx", workflows.c.created_at)
Index(
    "workflows_parent_idx",
    workflows.c.id,
    postgresql_where=workflows.c.parent_job.is_not(None) & workflows.c.stopped_at.is_(None),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", BigInteger, nullable=False, autoincrement=False),
    Column("workflow_id", BigInteger, nullable=False),
    Column("ended_at", Moment),
    Column("rank", Integer),
    Column("unmet", Integer, nullable=False),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("is_gate", Boolean, nullable=False, server_default=text("false")),
    Column("needs", Word, nullable=False, server_default=text("'completed'")),
    Column("state", Word),
    Column("name", Word, nullable=False),
    Column("error", Text),
    Column("result", JSONB),
    Column("fills", JSONB),
    Column("members", Integer),
    Column("undo", JSONB),
    Column("gives", Word),
    Column("undoes", BigInteger),
    PrimaryKeyConstraint("id", name="nodes_pkey"),
    CheckConstraint("needs in ('completed', 'ended', 'failed')", "nodes_needs_check"),
    CheckConstraint("state in ('completed', 'cancelled', 'dead')", "nodes_state_check"),
    CheckConstraint("gives in ('members', 'nothing')", "nodes_gives_check"),
    CheckConstraint("octet_length(name) between 1 and 255", "nodes_name_check"),
)
Index("nodes_undoes_key", nodes.c.undoes, unique=True, postgresql_where=nodes.c.undoes > 0)
Index("nodes_workflow_key", nodes.c.workflow_id, nodes.c.rank, unique=True)
Index("nodes_parts_idx", nodes.c.workflow_id, nodes.c.id, postgresql_where=nodes.c.members.is_not(None))

dependencies = Table(
    "dependencies",
    metadata,
    Column("on_id", BigInteger, nullable=False),
    Column("node_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("on_id", "node_id", name="dependencies_pkey"),
)
Index("dependencies_node_idx", dependencies.c.node_id)

unresolved = Table(
    "unresolved",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("node_id", BigInteger, nullable=False),
    Column("error", Text),
    PrimaryKeyConstraint("id", name="unresolved_pkey"),
)
