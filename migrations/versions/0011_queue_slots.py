"""A worker's row tells which of its queues have slots of their own, and how many."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table pgqueue.workers add column if not exists queue_slots integer[] not null default '{}'"
    )
