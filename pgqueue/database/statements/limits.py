"""The statements with which people read limits and change them, and the statement that recounts seats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.database.statements.masking import each_shown
from pgqueue.database.statements.noting import Who, noted
from pgqueue.sql import Statement


@dataclass(frozen=True, slots=True)
class Limit:
    """The row of a limit (``period`` in seconds), and its use by all keys now: how many seats are taken, how many keys have used it up.

    ``free_at``: the time from which on no key has used up its rate.
    """

    id: int
    queue: str | None
    task: str | None
    per_key: bool
    key: str | None
    concurrency: int | None
    rate: int | None
    period: float | None
    sliding: bool
    burst: int | None
    share: int | None
    taken: int
    full_keys: int
    free_at: datetime | None


@dataclass(frozen=True, slots=True)
class Seats:
    """What the jobs of one key have taken of a limit. ``wanted``: what the first job needs that was refused. Times are None if it has room."""

    key: str
    taken: int
    wanted: int
    full_at: datetime | None
    free_at: datetime | None


@dataclass(frozen=True, slots=True)
class SeatHolder:
    """A running job that has taken ``weight`` seats of a limit."""

    id: int
    task: str
    queue: str
    concurrency_key: str | None
    weight: int
    started_at: datetime
    worker_id: int | None


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A due job to which a limit applies."""

    id: int
    task: str
    queue: str
    concurrency_key: str | None
    run_at: datetime
    priority: int


@dataclass(frozen=True, slots=True)
class Miscount:
    """A row of pgqueue.seats whose number of taken seats was ``counted``, although the running jobs had taken ``correct`` seats."""

    limit_id: int
    key: str
    counted: int
    correct: int


def set_limit(
    *,
    queue: str | None,
    task: str | None,
    per_key: bool,
    key: str | None,
    concurrency: int | None,
    rate: int | None,
    period: float | None,
    sliding: bool,
    burst: int | None,
    share: int | None,
    who: Who | None = None,
) -> Statement[int]:
    """Makes or changes the limit for this queue, task and key. Returns the limit's id. ``period`` is in seconds."""
    return noted(
        "set_limit", who, one, queue=queue, task=task, per_key=per_key, key=key, concurrency=concurrency, rate=rate, period=period,
        sliding=sliding, burst=burst, share=share,
    )  # fmt: skip


def list_limits() -> Statement[list[Limit]]:
    return statement("list_limits", each(Limit))


def remove_limit(limit_id: int, *, who: Who | None = None) -> Statement[int | None]:
    """Removes a limit. Returns None if there is no such limit."""
    return noted("remove_limit", who, lambda rows: rows[0][0] if rows else None, limit_id=limit_id)


def list_seats(limit_id: int) -> Statement[list[Seats]]:
    return statement("list_seats", each(Seats), limit_id=limit_id)


def list_holders(limit_id: int) -> Statement[list[SeatHolder]]:
    return statement("list_holders", each_shown(SeatHolder, "concurrency_key"), limit_id=limit_id)


def list_waiting(limit_id: int) -> Statement[list[WaitingJob]]:
    return statement("list_waiting", each_shown(WaitingJob, "concurrency_key"), limit_id=limit_id)


def recount_seats() -> Statement[list[Miscount]]:
    """Corrects the rows of seats whose number was wrong, and returns these rows. Usually there is no such row."""
    return statement("recount_seats", each(Miscount))
