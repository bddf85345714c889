"""The table of counts and times per minute, queue and task, from which charts are drawn.

Workers of the revision before neither read nor write this table. If a role got its rights as a worker before this revision, it needs
the rights that ``pgq db grants`` prints, or its counts are not stored. Its jobs run as before.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table if not exists pgqueue.stats (
        at           timestamptz        not null,
        started      bigint             not null default 0,
        completed    bigint             not null default 0,
        retried      bigint             not null default 0,
        dead         bigint             not null default 0,
        cancelled    bigint             not null default 0,
        put_back     bigint             not null default 0,
        crashed      bigint             not null default 0,
        wait_seconds double precision   not null default 0,
        run_seconds  double precision   not null default 0,
        seconds      integer            not null default 60,
        queue        pgqueue.queue_name not null,
        task         pgqueue.task_name  not null,
        waits        integer[]          not null default '{}',
        runs         integer[]          not null default '{}',
        constraint stats_pkey primary key (seconds, at, queue, task),
        constraint stats_seconds_check check (seconds in (60, 3600))
    ) with (fillfactor = 70)
    """,
    # The same for all queues together, for all tasks together, and for both, so that a chart of a day reads few rows. '' stands for all.
    """
    create table if not exists pgqueue.stats_totals (
        at           timestamptz      not null,
        started      bigint           not null default 0,
        completed    bigint           not null default 0,
        retried      bigint           not null default 0,
        dead         bigint           not null default 0,
        cancelled    bigint           not null default 0,
        put_back     bigint           not null default 0,
        crashed      bigint           not null default 0,
        wait_seconds double precision not null default 0,
        run_seconds  double precision not null default 0,
        seconds      integer          not null default 60,
        queue        text collate "C" not null default '',
        task         text collate "C" not null default '',
        waits        integer[]        not null default '{}',
        runs         integer[]        not null default '{}',
        constraint stats_totals_pkey primary key (queue, task, seconds, at),
        constraint stats_totals_seconds_check check (seconds in (60, 900, 3600))
    ) with (fillfactor = 70)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement))
