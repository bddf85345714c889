"""What constructors of statements are made of: the statement itself, and decoders of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pgqueue.sql import Row, Statement, load

T = TypeVar("T")


def statement(name: str, decode: Callable[[Sequence[Row]], T], /, **parameters: object) -> Statement[T]:
    return Statement(name, load(name), parameters, decode)


def nothing(_rows: Sequence[Row]) -> None:
    return None


def column(rows: Sequence[Row]) -> list[Any]:
    return [row[0] for row in rows]


def one(rows: Sequence[Row]) -> Any:
    return rows[0][0] if rows else None


def each(make: Callable[..., T]) -> Callable[[Sequence[Row]], list[T]]:
    return lambda rows: [make(*row) for row in rows]


def plain(text: str | None) -> Any:
    """A value of jsonb. What Python cannot decode (5,000 digits, 1,000 levels) stays text: it must not hide other jobs."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text
