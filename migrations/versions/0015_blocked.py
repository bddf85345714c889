"""A worker whose loop is blocked says so in its row."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table pgqueue.workers add column if not exists blocked_since timestamptz,"
        " add column if not exists blocked_by bigint[]"
    )
