"""What tasks declare as rows, so that it holds for jobs made by SQL; schedules belong to an app by its name, however `-A` is spelled."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# A plain INSERT INTO pgqueue.jobs that leaves a column out gets a mark instead of the default; the trigger (its text is
# functions/fill_declared.sql) puts what the task declares in its place, before anybody sees the row. On the parent alone, and for a
# statement: enqueuing writes to jobs_live, whose own defaults are real, and pays nothing.
STATEMENTS = (
    "drop function if exists pgqueue.check_jobs(jsonb)",
    "drop function if exists pgqueue.apart(jsonb)",
    "drop function if exists pgqueue.sync_schedules(text, text, jsonb, double precision)",
    """
    create table pgqueue.tasks (
        name     pgqueue.task_name not null,
        app      text              not null,
        options  pgqueue.job_meta  not null default '{}',
        keep     text              not null default 'all',
        declared text              not null,
        former   text[]            not null default '{}',
        since    timestamptz       not null default clock_timestamp(),
        seen_at  timestamptz       not null default clock_timestamp(),
        constraint tasks_pkey primary key (name),
        constraint tasks_keep_check check (keep in ('all', 'failures', 'none'))
    )
    """,
    "alter table only pgqueue.jobs alter column queue set default 'pgqueue.declared'",
    "alter table only pgqueue.jobs alter column max_attempts set default '9999'",
    "alter table only pgqueue.jobs alter column priority set default '-32768'",
    "alter table only pgqueue.jobs alter column timeout set default '365 days'",
    # What a job of SQL leaves to its task, while no worker has told of the task yet.
    "alter table pgqueue.jobs add column if not exists undeclared text[]",
    "create index jobs_live_undeclared_idx on pgqueue.jobs_live (task) where undeclared is not null",
    "create function pgqueue.fill_declared() returns trigger language plpgsql as 'begin return null; end'",
    """
    create trigger jobs_declared after insert on pgqueue.jobs referencing new table as added
        for each statement execute function pgqueue.fill_declared()
    """,
    "alter table pgqueue.schedule_sets add column if not exists tasks text[] not null default '{}'",
    """
    insert into pgqueue.schedule_sets as s (app, fingerprint, since, expires_at)
    select split_part(o.app, ':', 1), o.fingerprint, max(o.since), max(o.expires_at)
    from pgqueue.schedule_sets o where strpos(o.app, ':') > 0 group by 1, 2
    on conflict (app, fingerprint) do update
    set since = greatest(s.since, excluded.since), expires_at = greatest(s.expires_at, excluded.expires_at)
    """,
    "delete from pgqueue.schedule_sets where strpos(app, ':') > 0",
    "update pgqueue.schedules set app = split_part(app, ':', 1) where strpos(app, ':') > 0",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement.replace(":", "\\:")))
