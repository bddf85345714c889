"""The statements of batches: jobs that are counted together, and jobs that follow when all of them have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pgqueue.database.statements.decoding import nothing, one, statement
from pgqueue.model.new_job import Batch
from pgqueue.sql import Row, Statement


class OpenedParts(NamedTuple):
    """Ids for members that a transaction is about to copy, their concurrency key, the database's time, and the id of the transaction."""

    ids: Sequence[int]
    key: str | None
    moment: datetime
    xid: str


class Retried(NamedTuple):
    """``jobs``: how many members run again. ``last``: the greatest id among them; None: there were none."""

    jobs: int
    last: int | None


def enqueue_batch(batch: Mapping[str, object]) -> Statement[tuple[int, bool]]:
    """Stores a batch. Returns its id, and whether it is new."""
    return statement("enqueue_batch", lambda rows: (rows[0][0], rows[0][1]), batch=json.dumps(batch))


def open_parts(batch: int, count: int, member: int | None) -> Statement[OpenedParts]:
    """Takes ids for ``count`` members, and stores their nodes. ``count`` is at least 1. ``member``: the job that adds them, if it is one."""
    return statement("open_parts", _opened, batch=batch, count=count, member=member)


def add_to_batch(batch: int, jobs: Sequence[Batch], member: int | None) -> Statement[list[int]]:
    """Adds jobs by the SQL API. Returns their ids."""
    items = "[" + ",".join(batch.item() for batch in jobs) + "]"
    return statement("add_to_batch", lambda rows: _ids(rows[0][0]), batch=batch, jobs=items, member=member)


def copy_nodes() -> Statement[None]:
    return statement("copy_nodes", nothing)


def seal_batch(batch: int) -> Statement[str]:
    """Returns ``sealed``, or ``ended`` if no member is unfinished."""
    return statement("seal_batch", one, batch=batch)


def abandon_batch(batch: int) -> Statement[str | None]:
    """Cancels a batch that is not sealed. Returns the answer of ``cancel_workflow``, or ``sealed``; None: there is no such batch."""
    return statement("abandon_batch", one, batch=batch)


def retry_members(batch: int, after: int, count: int) -> Statement[Retried]:
    """Runs at most ``count`` members with ids above ``after`` again, if they did not complete."""
    return statement("retry_members", lambda rows: Retried(*rows[0]), batch=batch, after=after, count=count)


def _opened(rows: Sequence[Row]) -> OpenedParts:
    [(ids, key, moment, xid)] = rows
    return OpenedParts(_ids(ids), key, moment, xid)


def _ids(text: str) -> list[int]:
    return [int(number) for number in text[1:-1].split(",")] if text != "{}" else []
