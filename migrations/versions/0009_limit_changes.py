"""A change of a limit holds its seats no longer than its commit takes: workers wait for them, with all that they do."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("drop trigger limits_changed_trigger on pgqueue.limits")
    op.execute(
        "create constraint trigger limits_changed_trigger after update on pgqueue.limits"
        " deferrable initially deferred for each row execute function pgqueue.limit_changed()"
    )
