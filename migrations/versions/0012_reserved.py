"""Names of pgqueue's own tasks (`pgqueue.…`, hooks `….:on_…`) are refused to all who enqueue: only its own statements, which say so, store such jobs."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# The function's text is functions/refuse_reserved.sql, which replaces this after the last revision. After the insert, because a
# trigger before it would make COPY store one row at a time. Every insert reads the condition again, node by node, so it is one
# operator: who has stored the job is asked by the function.
STATEMENTS = (
    "alter table pgqueue.jobs add column if not exists ours boolean",
    "create function pgqueue.refuse_reserved() returns trigger language plpgsql as 'begin return null; end'",
    """
    create trigger jobs_live_reserved after insert on pgqueue.jobs_live for each row
        when (new.task like any ('{pgqueue.%,%:on\\\\_%}'))
        execute function pgqueue.refuse_reserved()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement.replace(":", "\\:")))
