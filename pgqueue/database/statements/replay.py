"""The statements of a replay: they read the job, and refuse the COMMIT of the transactions in which the handler runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from pgqueue.database.statements.decoding import nothing, statement
from pgqueue.sql import Row, Statement


class Replayed(NamedTuple):
    """The job of a replay. ``row``: what a claim would return."""

    row: Row
    state: str
    worker_id: int | None


class Write(NamedTuple):
    """What a transaction has written to one table. ``rows``: some rows as they are now, each as JSON.

    ``note``: why ``rows`` is empty: ``large``, or an SQLSTATE. None: all rows were looked for.
    """

    schema: str
    table: str
    inserted: int
    updated: int
    deleted: int
    rows: list[dict[str, object]]
    note: str | None


def get_replayed(job_id: int) -> Statement[Replayed | None]:
    return statement("get_replayed", _replayed, job_id=job_id)


def _replayed(rows: Sequence[Row]) -> Replayed | None:
    for *row, state, worker_id in rows:
        return Replayed(row, state, worker_id)
    return None


def refuse_commit(job_id: int, key: str) -> Statement[None]:
    """Makes the COMMIT of this transaction fail. ``key`` must be random."""
    return statement("refuse_commit", nothing, job_id=job_id, key=key)


def check_deferred() -> Statement[None]:
    """Checks the deferred constraints of what this transaction has written, as a COMMIT would."""
    return statement("check_deferred", nothing)


def list_writes(most_bytes: int, most_rows: int) -> Statement[list[Write]]:
    """Returns the tables that this transaction has written. Does not read the rows of tables that are larger than ``most_bytes``."""

    def decode(rows: Sequence[Row]) -> list[Write]:
        return [Write._make([*row[:5], json.loads(row[5]), row[6]]) for row in rows]

    return statement("list_writes", decode, most_bytes=most_bytes, most_rows=most_rows)


# Commands. They have no file, because they return no rows, and PostgreSQL cannot plan them.
READ_ONLY_SESSION: LiteralString = "set default_transaction_read_only = on"
READ_WRITE: LiteralString = "set transaction read write"
MARK: LiteralString = "savepoint pgqueue_replay"  # a savepoint can have the name of another, which it hides until it is released
KEEP: LiteralString = "release savepoint pgqueue_replay"
UNDO: LiteralString = "rollback to savepoint pgqueue_replay"
