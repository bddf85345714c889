"""The row of a task gets the paths of what is secret in its jobs, so that all that shows jobs to people can mask these values.

The column is nullable, so no row is rewritten. Null means that no worker has declared it yet. Workers of the revision before go on: they
declare tasks without it, and ``pgqueue.sync_tasks`` then leaves the column as it is.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(text("alter table pgqueue.tasks add column if not exists redact jsonb"))
