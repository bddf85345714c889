"""A key remembers how its job ended, for callers who come back after the job's row is gone."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        'alter table pgqueue.idempotency_keys add column state text collate "C", add column result jsonb,'
        " add column error text"
    )
    # Retention finds the keys of the jobs that it removes. Ids only grow, so entries go to the index's right edge.
    op.execute("create index idempotency_keys_job_id_idx on pgqueue.idempotency_keys (job_id)")
    # They return more columns now, which a replacement cannot do.
    op.execute("drop function if exists pgqueue.enqueue(text, jsonb, jsonb)")
    op.execute("drop function if exists pgqueue.enqueue_many(jsonb)")
