"""A retention that reaches back before all time is bounded: every purge subtracts it from now."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "update pgqueue.queues set retention = interval '1000 years' where retention > interval '1000 years'"
    )
    op.execute(
        "alter table pgqueue.queues drop constraint queues_retention_check, add constraint queues_retention_check"
        " check (retention >= interval '0' and retention <= interval '1000 years')"
    )
