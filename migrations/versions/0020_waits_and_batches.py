"""Columns and tables for jobs that wait for a signal, for batches, for undo, and for versions of the code.

All new columns are nullable or have constant defaults, so no table is rewritten. Workers of the revision before neither read nor write them,
so they also claim jobs of versions that they do not know. They call rare_fields with the former parameters, so this function stays.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0020"
down_revision = "0019"
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
# A day of finished jobs that was detached follows no parent, and could not be attached again without the columns.
COLUMNS = r"""
do $do$
declare
    t record;
begin
    for t in
        select c.oid::regclass as name from pg_class c
        where c.relnamespace = 'pgqueue'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and (c.relname = 'jobs' or c.relname ~ '^jobs_done_[12][0-9]{7}$')
    loop
        execute format('alter table %s add column if not exists waits_for text[] collate "C", add column if not exists version smallint', t.name);
    end loop;
end
$do$
"""
STATEMENTS = (
    DETACHED,
    COLUMNS,
    # The leader finds the jobs whose wait for a signal is over.
    """
    create index if not exists jobs_live_timer_idx on pgqueue.jobs_live (run_at)
        where state = 'waiting' and waits_for is not null
    """,
    """
    create table if not exists pgqueue.signals (
        id       bigint           generated always as identity,
        job_id   bigint           not null,
        at       timestamptz      not null default clock_timestamp(),
        taken_by bigint,
        name     text collate "C" not null,
        key      text collate "C",
        sender   text,
        payload  pgqueue.job_note,
        constraint signals_pkey primary key (id),
        constraint signals_name_check check (octet_length(name) between 1 and 255),
        constraint signals_key_check check (octet_length(key) between 1 and 255),
        constraint signals_sender_check check (octet_length(sender) between 1 and 255)
    )
    """,
    "create unique index if not exists signals_key on pgqueue.signals (job_id, name, key) where key is not null",
    "create index if not exists signals_untaken_idx on pgqueue.signals (job_id, name, id) where taken_by is null",
    "create index if not exists signals_job_idx on pgqueue.signals (job_id)",
    # The trigger's text is functions/signal_arrived.sql.
    "create or replace function pgqueue.signal_arrived() returns trigger language plpgsql as 'begin return null; end'",
    "drop trigger if exists signals_arrived_trigger on pgqueue.signals",
    """
    create constraint trigger signals_arrived_trigger after insert on pgqueue.signals
        deferrable initially deferred for each row execute function pgqueue.signal_arrived()
    """,
    """
    alter table pgqueue.workflows
        add column if not exists parent_job bigint,
        add column if not exists undone_at  timestamptz,
        add column if not exists sealed_at  timestamptz,
        add column if not exists ended_at   timestamptz,
        add column if not exists at_once    integer,
        add column if not exists follow_ups jsonb,
        add column if not exists kind       text collate "C" not null default 'graph',
        drop constraint if exists workflows_kind_check,
        drop constraint if exists workflows_at_once_check,
        add constraint workflows_kind_check check (kind in ('graph', 'batch', 'children')),
        add constraint workflows_at_once_check check (at_once > 0)
    """,
    # The leader finds children whose parent has ended.
    """
    create index if not exists workflows_parent_idx on pgqueue.workflows (id)
        where parent_job is not null and stopped_at is null
    """,
    """
    alter table pgqueue.nodes
        alter column rank drop not null,
        add column if not exists members integer,
        add column if not exists undo    jsonb,
        add column if not exists undoes  bigint
    """,
    # Each node is undone once.
    "create unique index if not exists nodes_undoes_key on pgqueue.nodes (undoes) where undoes > 0",
    # The parts of a batch: few rows, by which the end of a batch is found without a look at its jobs.
    "create index if not exists nodes_parts_idx on pgqueue.nodes (workflow_id, id) where members is not null",
    # The trigger's text is functions/part_added.sql.
    "create or replace function pgqueue.part_added() returns trigger language plpgsql as 'begin return null; end'",
    "drop trigger if exists nodes_part_trigger on pgqueue.nodes",
    """
    create constraint trigger nodes_part_trigger after insert on pgqueue.nodes
        deferrable initially deferred for each row when (new.members is not null) execute function pgqueue.part_added()
    """,
    # These functions have more parameters now.
    "drop function if exists pgqueue.cancel_nodes(bigint, text)",
    "drop function if exists pgqueue.resolve(bigint[], text[], jsonb[], text[])",
    # What a gate gives to a list that it is a part of; null: its own list. Rows of the revision before have null.
    """
    alter table pgqueue.nodes
        add column if not exists gives text collate "C",
        drop constraint if exists nodes_gives_check,
        add constraint nodes_gives_check check (gives in ('members', 'nothing'))
    """,
    # No index depends on a node's state. So the end of a node changes no index, if its page has room for the new version of the row.
    "drop index if exists pgqueue.nodes_open_idx",
    "alter table pgqueue.nodes set (fillfactor = 45)",
    """
    alter table pgqueue.workers
        add column if not exists app_version text,
        add column if not exists accepts     text[] not null default '{}'
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement.replace(":", "\\:")))
