"""Names of pgqueue's own tasks (`pgqueue.…`, hooks `….:on_…`) belong to its own statements, which mark the jobs that they store as `ours`."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A role that may only enqueue has no right on it (sql/grants/enqueuer.sql).
    op.execute(text("alter table pgqueue.jobs add column if not exists ours boolean"))
