"""What the constructors are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pgqueue.sql import Row, Statement, load

T = TypeVar("T")


def _nothing(_rows: Sequence[Row]) -> None:
    return None


def _raw(rows: Sequence[Row]) -> list[Row]:
    return list(rows)


def _column(rows: Sequence[Row]) -> list[Any]:
    return [row[0] for row in rows]


def _one(rows: Sequence[Row]) -> Any:
    return rows[0][0] if rows else None


def _each(make: Callable[..., T]) -> Callable[[Sequence[Row]], list[T]]:
    return lambda rows: [make(*row) for row in rows]


def _statement(name: str, decode: Callable[[Sequence[Row]], T], **parameters: object) -> Statement[T]:
    return Statement(name, load(name), parameters, decode)
