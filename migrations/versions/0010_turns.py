"""What may not run is passed over at the cost of one look: the jobs of one task of a key, those that keep their order, those due later, and what a snapshot keeps."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    "drop function if exists pgqueue.claim_limited(bigint, text[], text, smallint, text, integer)",
    "drop function if exists pgqueue.due_by_key(text[], text, smallint, text, integer, integer[], text[])",
    "drop index pgqueue.jobs_live_key_idx",
    """
    create index jobs_live_key_idx on pgqueue.jobs_live
        (queue, priority, coalesce(concurrency_key, E'\\x01' || task), num_nonnulls(ordering), task, run_at, id)
        where state in ('pending', 'retrying') and (concurrency_key is not null or parked)
    """,
    "drop index pgqueue.jobs_live_later_idx",
    """
    create index jobs_live_due_idx on pgqueue.jobs_live (queue, priority, run_at, id)
        where state in ('pending', 'retrying') and (concurrency_key is not null or parked) and num_nonnulls(run_at) = 1
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
