"""Each job knows the transaction that enqueued it. An action can be undone in several parts.

The column is added without a default, so no table is rewritten, and jobs from before have null. Workers of the revision before go on: they
move a finished job without the column, so such a job has null, too.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0029"
down_revision = "0028"
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
# A day of finished jobs that was detached follows no parent, and could not be attached again without the column.
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
        execute format('alter table %s add column if not exists transaction_id xid8', t.name);
    end loop;
end
$do$
"""
STATEMENTS = (
    DETACHED,
    COLUMN,
    # Only where jobs are stored: a row that moves to another table without the column has been enqueued by another transaction.
    "alter table only pgqueue.jobs alter column transaction_id set default pg_current_xact_id()",
    "alter table pgqueue.jobs_live alter column transaction_id set default pg_current_xact_id()",
    # Jobs that were locked during an undo can be undone later, by another undo of the same action.
    "drop index if exists pgqueue.audit_undoes_key",
    "create index if not exists audit_undoes_idx on pgqueue.audit (undoes) where undoes is not null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement))
