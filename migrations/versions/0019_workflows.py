"""Workflows: jobs that wait for each other.

A worker of the revision before claims and completes a node like any other job, but does not resolve it. The leader's mend_nodes.sql
resolves such a node within minutes. That worker calls the function rare_fields with the former parameters, so this function stays.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# While a day of finished jobs is being detached, no change of its parent reaches it, and it can be attached to no table.
DETACHED = r"""
do $do$
declare
    d record;
begin
    for d in select i.inhparent::regclass as parent, i.inhrelid::regclass as child from pg_inherits i
             where i.inhdetachpending and i.inhparent = 'pgqueue.jobs_done'::regclass
    loop
        execute format('alter table %s detach partition %s finalize', d.parent, d.child);
    end loop;
end
$do$
"""
# A column without a default changes the catalog alone. A day of finished jobs that was detached follows no parent, and could not be
# attached again without the column.
COLUMN = r"""
do $do$
declare
    t record;
begin
    for t in
        select c.oid::regclass as name from pg_class c
        where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and (c.relname = 'jobs' or c.relname ~ '^jobs_done_[12][0-9]{7}$')
    loop
        execute format('alter table %s add column if not exists workflow_id bigint', t.name);
    end loop;
end
$do$
"""
TABLES = (
    """
    create table if not exists pgqueue.workflows (
        id          bigint           generated always as identity,
        created_at  timestamptz      not null default clock_timestamp(),
        stopped_at  timestamptz,
        name        text collate "C" not null,
        key         text collate "C",
        on_failure  text collate "C" not null default 'cancel',
        stop_reason text collate "C",
        meta        pgqueue.job_meta not null default '{}',
        constraint workflows_pkey primary key (id),
        constraint workflows_name_check check (octet_length(name) between 1 and 255),
        constraint workflows_key_check check (octet_length(key) between 1 and 255),
        constraint workflows_on_failure_check check (on_failure in ('cancel', 'stop', 'continue')),
        constraint workflows_stop_reason_check check (stop_reason in ('workflow_cancelled', 'workflow_failed'))
    )
    """,
    "create unique index if not exists workflows_key on pgqueue.workflows (name, key) where key is not null",
    """
    create index if not exists workflows_stopping_idx on pgqueue.workflows (id)
        where stop_reason is not null and stopped_at is null
    """,
    "create index if not exists workflows_created_idx on pgqueue.workflows (created_at)",
    # A third of each page stays free, so that counting can write the new version of a row beside the old one.
    """
    create table if not exists pgqueue.nodes (
        id          bigint           not null,
        workflow_id bigint           not null,
        ended_at    timestamptz,
        rank        integer          not null,
        unmet       integer          not null,
        failed      integer          not null default 0,
        is_gate     boolean          not null default false,
        needs       text collate "C" not null default 'completed',
        state       text collate "C",
        name        text collate "C" not null,
        error       text,
        result      jsonb,
        fills       jsonb,
        constraint nodes_pkey primary key (id),
        constraint nodes_needs_check check (needs in ('completed', 'ended', 'failed')),
        constraint nodes_state_check check (state in ('completed', 'cancelled', 'dead')),
        constraint nodes_name_check check (octet_length(name) between 1 and 255)
    ) with (fillfactor = 70)
    """,
    "create unique index if not exists nodes_workflow_key on pgqueue.nodes (workflow_id, rank)",
    "create index if not exists nodes_open_idx on pgqueue.nodes (workflow_id, id) where state is null",
    """
    create table if not exists pgqueue.dependencies (
        on_id   bigint not null,
        node_id bigint not null,
        constraint dependencies_pkey primary key (on_id, node_id)
    )
    """,
    "create index if not exists dependencies_node_idx on pgqueue.dependencies (node_id)",
    """
    create table if not exists pgqueue.unresolved (
        id      bigint generated always as identity,
        node_id bigint not null,
        constraint unresolved_pkey primary key (id)
    )
    """,
)


def upgrade() -> None:
    for statement in (DETACHED, COLUMN, *TABLES):
        op.execute(text(statement.replace(":", "\\:")))
