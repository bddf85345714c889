"""The statements of batches: jobs that are counted together, and jobs that follow when all of them have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pgqueue.database.statements.decoding import each, nothing, one, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.new_job import Batch
from pgqueue.sql import Row, Statement

BATCH_STATES = ("open", "running", "stopping", "completed", "failed", "cancelled")
RETRIED_AT_ONCE = 1000  # one transaction brings back at most this many members


class OpenedParts(NamedTuple):
    """Ids for members that a transaction is about to copy, their concurrency key, the database's time, and the id of the transaction."""

    ids: Sequence[int]
    key: str | None
    moment: datetime
    xid: str


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How a batch goes. ``state``: open, running, stopping, completed, failed or cancelled. The numbers count its jobs.

    ``failed``: how many are dead or cancelled. ``sealed_at``, ``ended_at``: None until then.
    """

    id: int
    name: str
    key: str | None
    state: str
    jobs: int
    unfinished: int
    completed: int
    failed: int
    at_once: int | None
    created_at: datetime
    sealed_at: datetime | None
    ended_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None


class FollowUp(NamedTuple):
    """A job that was stored when a batch ended. ``name``: on_success, on_failure or on_end. ``state``: None if its row is gone."""

    name: str
    job_id: int
    state: str | None


class Retried(NamedTuple):
    """``jobs``: how many members run again. ``last``: the id of the last part to which they belong; None: no part was left.

    ``audit_id``: the row of pgqueue.audit; None: nothing was noted.
    """

    jobs: int
    last: int | None
    audit_id: int | None = None


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


def seal_batch(batch: int, *, who: Who | None = None) -> Statement[str]:
    """Returns ``sealed``, or ``ended`` if no member is unfinished."""
    return noted("seal_batch", who, one, batch=batch)


def abandon_batch(batch: int) -> Statement[str | None]:
    """Cancels a batch that is not sealed. Returns the answer of ``cancel_workflow``, or ``sealed``; None: there is no such batch."""
    return statement("abandon_batch", one, batch=batch)


def retry_members(batch: int, after: int, count: int, *, who: Who | None = None) -> Statement[Retried]:
    """Runs members again that did not complete: of parts with ids above ``after``, at most ``count`` members, or a whole part."""
    return noted("retry_members", who, lambda rows: Retried(*rows[0]), batch=batch, after=after, count=count)


def get_batch(batch: int) -> Statement[BatchProgress | None]:
    return statement("get_batch", lambda rows: BatchProgress(*rows[0]) if rows else None, batch=batch)


def list_batches(
    *, name: str | None, state: str | None, before: int | None, count: int
) -> Statement[list[BatchProgress]]:
    """Lists at most ``count`` batches with ids below ``before``, the newest first."""
    return statement(
        "list_batches",
        each(BatchProgress),
        name=name,
        state=state,
        before=before,
        count=count,
    )


def count_members(batch: int) -> Statement[dict[str, int]]:
    """Returns how many unfinished members are in which state."""
    return statement("count_members", lambda rows: {row[0]: row[1] for row in rows}, batch=batch)


def list_follow_ups(batch: int) -> Statement[list[FollowUp]]:
    return statement("list_follow_ups", each(FollowUp), batch=batch)


def _opened(rows: Sequence[Row]) -> OpenedParts:
    [(ids, key, moment, xid)] = rows
    return OpenedParts(_ids(ids), key, moment, xid)


def _ids(text: str) -> list[int]:
    return [int(number) for number in text[1:-1].split(",")] if text != "{}" else []
