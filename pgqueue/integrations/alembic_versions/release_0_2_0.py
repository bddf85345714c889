"""pgqueue 0.2.0: its whole schema."""

from __future__ import annotations

from pgqueue.integrations.alembic import refuse_downgrade, upgrade_schema

revision = "pgqueue_0_2_0"
down_revision = None
branch_labels = ("pgqueue",)
depends_on = None

SINCE = None  # the last revision of pgqueue's own in the release before
UNTIL = "0029"  # the last one in this release


def upgrade() -> None:
    upgrade_schema(SINCE, UNTIL)


def downgrade() -> None:
    refuse_downgrade()
