"""Bounds of a job, its expiry and its deadline, are checked, and those that nobody may run any more are found by an index."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A column of a domain that has its check already would rewrite every row of the table.
    op.execute("create domain pgqueue.job_bound as timestamptz")
    op.execute(
        "alter table pgqueue.jobs alter expires_at type pgqueue.job_bound, alter deadline_at type pgqueue.job_bound"
    )
    op.execute(
        "alter domain pgqueue.job_bound add constraint job_bound_check"
        " check (value >= '2000-01-01 00\\:00+00' and value < '3000-01-01 00\\:00+00')"
    )
    op.execute(
        "create index jobs_live_overdue_idx on pgqueue.jobs_live"
        " (least(cast(expires_at as timestamptz), cast(deadline_at as timestamptz)))"
        " where state <> 'running' and (expires_at is not null or deadline_at is not null)"
    )
