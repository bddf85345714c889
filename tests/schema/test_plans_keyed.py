"""A claim by turns reads few rows of a long backlog, and returns jobs in the order of turns.

It does so even if the planner's statistics say that the table is empty.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import PINNED, run
from tests.worker_by_hand import LimitedHand

KEYS, EACH = 100, 50
MOST = 20  # a claim reads at most this many rows for each claimed job


def fill(db: Connection[Any], ordering: str | None) -> None:
    """Stores jobs of every key. The jobs of the last key are stored first.

    The keys are long on purpose: this makes the index on the key deeper than every other index.
    """
    db.execute(
        "insert into pgqueue.jobs_live (task, concurrency_key, ordering)"
        " select 't', repeat('k', 200) || to_char(%s - i / %s, '000'), %s from generate_series(0, %s) i",
        [KEYS, EACH, ordering, KEYS * EACH - 1],
    )


@pytest.mark.parametrize("ordering", [None, "block"])
def test_a_claim_by_turns_reads_few_rows_under_statistics_of_an_empty_table(
    db: Connection[Any], ordering: str | None
) -> None:
    player = LimitedHand(db, ["t"])
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    fill(db, ordering)
    db.execute("delete from pgqueue.jobs_live")
    db.execute("analyze pgqueue.jobs_live")  # now the statistics say that the table has pages, but no rows
    fill(db, ordering)
    db.execute(PINNED)
    count = KEYS // 2
    with db.transaction():
        found = run(db, statements.claim_limited(player.id, ["t"], (player.queue, 0), "", count))
        read = db.execute(
            "select idx_tup_fetch from pg_stat_xact_user_tables where relid = 'pgqueue.jobs_live'::regclass"
        ).fetchone()
    assert len(found.turns) == count
    assert found.turns == sorted(found.turns)
    assert read is not None
    assert read[0] <= MOST * count
