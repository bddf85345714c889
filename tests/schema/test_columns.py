"""The lists of columns in the SQL agree with the tables.

There are three kinds of lists: the columns that a job keeps when its row moves to another table, the columns that a claim returns,
and the columns that are shown to users. If ``jobs`` gets a new column, tests fail here until each list contains or excludes the column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.schema import jobs_live
from pgqueue.sql import Statement, whole
from tests.worker_by_hand import Hand

Row = dict[str, Any]
# LIVING contains a value for each column of an unfinished job. Each value differs from the column's default. The columns in OF_THE_END are
# null until the job ends.
LIVING = {
    "id": "7", "lease_id": "5", "worker_id": "1", "run_at": "now() - interval '1 h'", "created_at": "now() - interval '2 h'",
    "started_at": "now() - interval '1 m'", "priority": "3", "attempt": "2", "max_attempts": "9", "crash_count": "1",
    "cancel_requested": "false", "state": "'running'", "queue": "'mail'", "task": "'t'", "unique_key": "'u'",
    "concurrency_key": "'c'", "timeout": "interval '1 h'", "tags": "'{a}'", "args": """'{"n": 1}'""", "meta": """'{"m": 1}'""",
    "trace_context": """'{"t": 1}'""", "progress": """'{"p": 1}'""", "last_error": "'an error'",
    "expires_at": "now() - interval '1 s'", "deadline_at": "now() + interval '1 day'", "weight": "2", "ordering": "'block'",
    "seats_taken": "'{999, 1}'", "parked": "true", "stored_by_pgqueue": "true", "undeclared": "'{timeout}'",
    "workflow_id": "7", "waits_for": "'{approved}'", "version": "2", "transaction_id": "'17'",
}  # fmt: skip
OF_THE_END = {"finished_at", "result", "last_traceback"}
LEFT = {"seats_taken", "parked", "undeclared", "waits_for"}  # finished jobs do not have these columns
RUNNING = LIVING
PENDING = LIVING | {"state": "'pending'", "worker_id": "null", "seats_taken": "null"}
DEAD = {name: value for name, value in PENDING.items() if name not in LEFT} | {
    "state": "'dead'",
    "finished_at": "now()",
    "last_traceback": "'a traceback'",
}


def store(db: Connection[Any], table: str, values: dict[str, str]) -> Row:
    text = f"insert into pgqueue.{table} ({', '.join(values)}) values ({', '.join(values.values())})"
    db.execute(text.encode())
    return stored(db)


def stored(db: Connection[Any]) -> Row:
    """Returns the row of the only job that is stored."""
    with db.cursor(row_factory=dict_row) as cursor:
        [row] = cursor.execute("select * from pgqueue.jobs where task = 't'").fetchall()
        return row


# Each statement that ends a job: the columns of the job before it, the statement, and the columns that it changes besides the state.
MOVES: dict[str, tuple[dict[str, str], Callable[[int], Statement[Any]], set[str]]] = {
    "complete": (RUNNING, lambda worker: statements.complete(worker, [(7, 5, True)]), set()),
    "complete_nodes": (
        RUNNING,
        lambda worker: statements.complete_nodes(worker, [(7, 5, True, None)]),
        set(),
    ),
    "settle": (RUNNING, lambda worker: statements.settle(worker, [(7, 5, COMPLETED)]), set()),
    "settle, dead": (
        RUNNING,
        lambda worker: statements.settle(worker, [(7, 5, Outcome.dead("permanent_error", ValueError("no")))]),
        {"last_error"},
    ),
    "rescue": (RUNNING, lambda _: statements.rescue(1, 10), {"last_error", "crash_count"}),
    "make_dead": (RUNNING, lambda worker: statements.make_dead(7, worker, "it is odd"), {"last_error"}),
    "finish_overdue": (PENDING, lambda _: statements.finish_overdue(10), set()),
    "cancel": (PENDING, lambda _: statements.cancel(7), {"cancel_requested"}),
}


def test_each_column_of_jobs_live_has_a_value_in_this_test() -> None:
    assert {*LIVING, *OF_THE_END} == {column.name for column in jobs_live.columns}


@pytest.mark.parametrize("move", MOVES)
def test_a_job_that_ends_keeps_all_columns_except_the_columns_that_only_unfinished_jobs_have(
    db: Connection[Any], move: str
) -> None:
    values, statement, changed = MOVES[move]
    hand = Hand(db, ["t"], "mail")
    if values["worker_id"] != "null":
        values = values | {"worker_id": str(hand.id)}
    before = store(db, "jobs_live", values)
    if move == "rescue":
        db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    run(db, statement(hand.id))
    after = stored(db)
    assert after["finished_at"] is not None
    differ = {name for name in before if before[name] != after[name]}
    assert differ == changed | {"state", "finished_at"} | {name for name in LEFT if before[name] is not None}


def test_a_revived_job_keeps_all_columns_except_the_columns_about_its_former_attempts(
    db: Connection[Any],
) -> None:
    before = store(db, "jobs_dead", DEAD)
    assert run(db, statements.revive(7)) == "revived"
    after = stored(db)
    differ = {name for name in before if before[name] != after[name]}
    assert differ == {
        "state", "run_at", "started_at", "finished_at", "attempt", "crash_count", "last_traceback", "expires_at",
    }  # fmt: skip


def names(db: Connection[Any], statement: Statement[Any]) -> list[str]:
    described = db.execute(statement.text, statement.parameters).description  # type: ignore[arg-type]
    assert described is not None
    return [column.name for column in described]


def test_every_claim_returns_the_same_columns(db: Connection[Any]) -> None:
    claimed = names(db, statements.claim(1, ["t"], [("q", 0)], [(0.0, 0)], 1))
    assert names(db, statements.find_lost_claims(1, [])) == claimed
    limited = names(db, statements.claim_limited(1, ["t"], ("q", 0), "", 1))
    renamed = {
        "queue_of": "queue",
        "priority_of": "priority",
    }  # the function claim_limited cannot use the names of its parameters for these two columns
    assert [renamed.get(name, name) for name in limited] == [*claimed, "turn", "rank", "front"]


def test_a_job_is_shown_with_all_columns_except_internal_columns(db: Connection[Any]) -> None:
    shown = names(db, statements.get_job(1))
    assert names(db, statements.list_jobs()) == shown
    assert shown.pop() == "redact"
    assert names(db, statements.get_ended([1], [])) == ["asked", *shown]
    own = {"weight", "ordering", "trace_context", "stored_by_pgqueue", "workflow_id", "transaction_id", *LEFT}
    assert {*shown} == {column.name for column in jobs_live.columns} - own


@pytest.mark.parametrize("name", ["claim_idx", "key_idx", "due_idx"])
def test_a_condition_that_the_sql_names_after_an_index_equals_the_condition_of_the_index(
    db: Connection[Any], name: str
) -> None:
    """In the SQL files, a line such as ``--+ claim_idx`` stands for the condition of the index jobs_live_claim_idx."""
    db.execute(f"create index likewise on pgqueue.jobs_live (id) where {whole(f'--+ {name}')}".encode())
    condition = "select pg_get_expr(i.indpred, i.indrelid) from pg_index i where i.indexrelid = %s::regclass"
    [in_files], [in_index] = (
        db.execute(condition, [f"pgqueue.{index}"]).fetchone() for index in ("likewise", f"jobs_live_{name}")
    )
    assert in_files == in_index
