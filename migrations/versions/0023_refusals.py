"""A row of ``unresolved`` gets the error with which the database refused to go on with its node.

The column is nullable, so no row is rewritten. Workers of the revision before go on, because they do not name the column. The functions
``cancel_nodes`` and ``finish_workflow`` get other parameters. The former ones stay, because such a worker can lead.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(text("alter table pgqueue.unresolved add column if not exists error text"))
