"""The results of steps, which later attempts of the same job read instead of taking the steps again.

The new objects change nothing for workers of the revision before, which neither write nor read checkpoints.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table if not exists pgqueue.checkpoints (
        job_id      bigint           not null,
        lease_id    bigint           not null,
        worker_id   bigint           not null,
        at          timestamptz      not null default clock_timestamp(),
        fingerprint bigint,
        version     smallint,
        kind        text collate "C" not null,
        name        text collate "C" not null,
        key         text collate "C" not null default '',
        value       pgqueue.job_note not null,
        constraint checkpoints_pkey primary key (job_id, name, key),
        constraint checkpoints_kind_check check (kind in ('step', 'effect', 'cursor', 'sleep', 'wait', 'gather')),
        constraint checkpoints_name_check check (octet_length(name) between 1 and 255),
        constraint checkpoints_key_check check (octet_length(key) <= 255)
    ) partition by range (job_id)
    """,
    # Rows are nearly never updated, and go together with their job.
    """
    create table if not exists pgqueue.checkpoints_default partition of pgqueue.checkpoints default
        with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000)
    """,
    # The trigger's text is functions/fence_checkpoint.sql.
    "create or replace function pgqueue.fence_checkpoint() returns trigger language plpgsql as 'begin return null; end'",
    "drop trigger if exists checkpoints_fence_trigger on pgqueue.checkpoints",
    """
    create constraint trigger checkpoints_fence_trigger after insert or update on pgqueue.checkpoints
        deferrable initially deferred for each row when (new.kind in ('effect', 'cursor'))
        execute function pgqueue.fence_checkpoint()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement.replace(":", "\\:")))
