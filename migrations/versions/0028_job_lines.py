"""The log lines that handlers wrote, for tasks that keep them.

The table is new, so workers of the revision before go on: they neither write nor read it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# Rows are never updated, and go together with their job.
TABLE = """
    create table if not exists pgqueue.job_lines (
        id      bigint generated always as identity,
        job_id  bigint           not null,
        attempt smallint         not null,
        at      timestamptz      not null,
        level   text collate "C" not null,
        logger  text             not null,
        text    text             not null,
        constraint job_lines_pkey primary key (job_id, id),
        constraint job_lines_level_check check (octet_length(level) <= 64),
        constraint job_lines_logger_check check (octet_length(logger) <= 1024),
        constraint job_lines_text_check check (octet_length(text) <= 32768)
    ) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000)
"""


def upgrade() -> None:
    op.execute(text(TABLE))
