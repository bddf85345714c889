"""Statements about limits: what people ask of them, and change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.sql import Statement


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit's row (``period`` in seconds), the seats taken, the number of keys that are full, and when the last of these keys is free."""

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
class Miscount:
    """A row of seats that says ``counted`` are taken, while running jobs have ``correct``."""

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
) -> Statement[int]:
    """The limit's id. ``period`` in seconds."""
    return statement(
        "set_limit", one, queue=queue, task=task, per_key=per_key, key=key, concurrency=concurrency, rate=rate, period=period,
        sliding=sliding, burst=burst, share=share,
    )  # fmt: skip


def list_limits() -> Statement[list[Limit]]:
    return statement("list_limits", each(Limit))


def remove_limit(limit_id: int) -> Statement[int | None]:
    """None: there is no such limit."""
    return statement("remove_limit", lambda rows: rows[0][0] if rows else None, limit_id=limit_id)


def recount_seats() -> Statement[list[Miscount]]:
    """Seats whose count was wrong. There should never be any."""
    return statement("recount_seats", each(Miscount))
