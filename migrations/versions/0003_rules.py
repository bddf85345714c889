"""Columns for the rules a job can carry: its weight against limits, its order, its expiry and its deadline."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A column of a domain that has its check already would rewrite every row of the table.
    op.execute("create domain pgqueue.job_weight as smallint")
    op.execute('create domain pgqueue.job_order as text collate "C"')
    op.execute(
        "alter table pgqueue.jobs add column expires_at timestamptz, add column deadline_at timestamptz,"
        " add column weight pgqueue.job_weight, add column ordering pgqueue.job_order, add column holds integer[]"
    )
    op.execute(
        "alter domain pgqueue.job_weight add constraint job_weight_check check (value between 1 and 1000)"
    )
    op.execute(
        "alter domain pgqueue.job_order add constraint job_order_check check (value in ('block', 'skip'))"
    )
