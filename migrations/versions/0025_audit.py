"""The tables ``audit`` and ``undo_rows``: who changed what with pgq, the web page or the API, and what an undo of that needs.

Both tables are new, so workers of the revision before go on.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

TABLES = """
create table if not exists pgqueue.audit (
    id bigint generated always as identity constraint audit_pkey primary key,
    at timestamptz not null default clock_timestamp(),
    undo_until timestamptz,
    operation bigint,
    undoes bigint,
    changed integer not null default 0,
    seen integer not null default 0,
    is_last boolean not null default true,
    role text collate "C" not null default session_user,
    actor text not null,
    source text collate "C" not null,
    action text collate "C" not null,
    about jsonb not null,
    before jsonb,
    after jsonb,
    refused jsonb,
    job_ids bigint[],
    constraint audit_changed_check check (changed >= 0 and seen >= 0),
    constraint audit_actor_check check (octet_length(actor) between 1 and 255),
    constraint audit_source_check check (source in ('sql', 'cli', 'web', 'api', 'tui', 'mcp')),
    constraint audit_action_check check (octet_length(action) between 1 and 63)
);
create index if not exists audit_at_idx on pgqueue.audit (at);
create index if not exists audit_operation_idx on pgqueue.audit (operation) where operation is not null;
create unique index if not exists audit_undoes_key on pgqueue.audit (undoes) where undoes is not null;
create index if not exists audit_job_ids_idx on pgqueue.audit using gin (job_ids);
create table if not exists pgqueue.undo_rows (
    audit_id bigint not null,
    job_id bigint not null,
    before jsonb not null,
    constraint undo_rows_pkey primary key (audit_id, job_id)
);
create index if not exists undo_rows_job_id_idx on pgqueue.undo_rows (job_id);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(text(statement.replace(":", "\\:")))
