"""The table ``worker_requests``: what a person asks a running worker, and the worker's answer.

Workers of the revision before do not read it, so they give no answers, and go on.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table if not exists pgqueue.worker_requests (
        id bigint generated always as identity constraint worker_requests_pkey primary key,
        at timestamptz not null default clock_timestamp(),
        answered_at timestamptz,
        worker_id bigint not null,
        request text collate "C" not null,
        answer text,
        constraint worker_requests_request_check check (request in ('quiet', 'stop', 'stacks')),
        constraint worker_requests_answer_check check (octet_length(answer) <= 262144)
    )
    """,
    """
    create index if not exists worker_requests_worker_id_idx on pgqueue.worker_requests (worker_id) where answered_at is null
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(text(statement))
