"""Row level security can hide jobs from a role. If a hidden job has the unique_key, an enqueue fails with a clear error instead of trying again for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

EVERYTHING = (
    "grant usage on schema pgqueue to ROLE",
    "grant select, insert, update, delete on all tables in schema pgqueue to ROLE",
    "grant usage, select, update on all sequences in schema pgqueue to ROLE",
    "grant execute on all functions in schema pgqueue to ROLE",
    "alter table pgqueue.jobs_live enable row level security",
)
OTHERS = "create policy others on pgqueue.jobs_live using (id <> 1)"
READS = "create policy reads on pgqueue.jobs_live for select using (true)"
WRITES = "create policy writes on pgqueue.jobs_live for insert with check (true)"
ONE = """select * from pgqueue.enqueue('t', '{}', '{"unique_key": "k", "on_conflict": "%s"}')"""
MANY = """select * from pgqueue.enqueue_many('[{"task": "t", "unique_key": "k"}, {"task": "t", "unique_key": "l"}]')"""


@pytest.mark.parametrize(
    ("policies", "call"),
    [
        ([OTHERS], ONE % "skip"),
        ([OTHERS], ONE % "replace"),
        ([OTHERS], MANY),
        ([READS, WRITES], ONE % "replace"),
        ([READS, WRITES], "select pgqueue.edit(1, '{\"priority\": 1}')"),
        ([READS, WRITES], "select pgqueue.cancel(1)"),
    ],
    ids=[
        "skip",
        "replace",
        "many",
        "replace a job that it can only read",
        "edit a job that it can only read",
        "cancel a job that it can only read",
    ],
)
def test_an_enqueue_edit_or_cancel_fails_with_a_clear_error_if_row_security_hides_or_protects_the_job(
    db: Connection[Any], role: Callable[..., str], policies: list[str], call: str
) -> None:
    mine = role(*EVERYTHING, *policies)
    db.execute(
        "insert into pgqueue.jobs (id, task, unique_key) values (nextval('pgqueue.jobs_id_seq'), 't', 'k')"
    )
    with psycopg.connect(mine, autocommit=True) as connection:
        connection.execute("set statement_timeout = '20s'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row level security"):
            connection.execute(call.encode())
    assert db.execute("select task, unique_key, priority from pgqueue.jobs_live").fetchall() == [
        ("t", "k", 0)
    ]
