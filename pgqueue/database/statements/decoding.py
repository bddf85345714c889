"""Functions that all constructors of statements use: they decode rows, and make a statement of an SQL file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pgqueue.model.job import Job
from pgqueue.model.redaction import Undecoded
from pgqueue.sql import Row, Statement, load

T = TypeVar("T")


def nothing(_rows: Sequence[Row]) -> None:
    return None


def raw(rows: Sequence[Row]) -> list[Row]:
    return list(rows)


def column(rows: Sequence[Row]) -> list[Any]:
    return [row[0] for row in rows]


def one(rows: Sequence[Row]) -> Any:
    return rows[0][0] if rows else None


def pair(rows: Sequence[Row]) -> Any:
    """Returns the two columns of the first row; None: there is no row."""
    return (rows[0][0], rows[0][1]) if rows else None


def each(make: Callable[..., T]) -> Callable[[Sequence[Row]], list[T]]:
    return lambda rows: [make(*row) for row in rows]


def plain(text: str | None) -> Any:
    """Decodes a value of jsonb. If Python cannot decode it (a number of 5,000 digits, a depth of 1,000 levels), returns its text.

    If it raised an error instead, one such job would keep all other jobs from being shown.
    """
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return Undecoded(text)


def job_of(row: Row) -> Job:
    (
        job_id, queue, task, args, state, priority, run_at, attempt, max_attempts, lease_id, worker_id, crash_count,
        unique_key, concurrency_key, tags, created_at, started_at, finished_at, timeout, progress, result,
        last_error, last_traceback, cancel_requested, meta, expires_at, deadline_at, version,
    ) = row  # fmt: skip
    return Job(
        id=job_id, queue=queue, task=task, args=plain(args), state=state, priority=priority, run_at=run_at,
        attempt=attempt, max_attempts=max_attempts, lease_id=lease_id, worker_id=worker_id, crash_count=crash_count,
        unique_key=unique_key, concurrency_key=concurrency_key, tags=tuple(tags), created_at=created_at,
        started_at=started_at, finished_at=finished_at, timeout=timeout, last_error=last_error,
        progressed=plain(progress), result=plain(result), last_traceback=last_traceback,
        cancel_requested=cancel_requested, meta=plain(meta), expires_at=expires_at, deadline_at=deadline_at,
        version=version,
    )  # fmt: skip


def array(values: Iterable[object]) -> str:
    """Writes a Postgres array as text. The values are numbers, or names that need no quotes.

    This is faster than psycopg, which would build the array in Python, element by element. Also, psycopg would send small numbers as int2
    and large numbers as int8. Then the server would prepare one statement several times, once for each type.
    """
    return "{" + ",".join(map(str, values)) + "}"


def maybe_array(values: Iterable[object] | None) -> str | None:
    """Like ``array``, but returns None for None."""
    return None if values is None else array(values)


def statement(name: str, decode: Callable[[Sequence[Row]], T], /, **parameters: object) -> Statement[T]:
    return Statement(name, load(name), parameters, decode)
