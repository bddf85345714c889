"""``pgqueue.retry_workflow`` gets a third argument, ``again``, without which a node that has completed does not run again."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(text("drop function if exists pgqueue.retry_workflow(bigint, text)"))
