"""Statements for asyncpg, directly or below SQLAlchemy: asyncpg numbers its parameters, and insists on their exact types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import LiteralString

PARAMETER = re.compile(r"%\((\w+)\)s|%%")


def numbered(text: LiteralString, parameters: Mapping[str, object]) -> tuple[str, list[object]]:
    """The text with ``$1::text`` in place of ``%(name)s``, and the values in that order.

    Each parameter of our statements has a cast. So asyncpg can send each value as text, and the server reads it as psycopg's. Lists go as
    lists, because their cast is to text[].
    """
    changed, names = _numbered(text, lists_in(parameters))
    return changed, [as_text(parameters[name]) for name in names]


def lists_in(parameters: Mapping[str, object]) -> frozenset[str]:
    """The names of the parameters that go as lists."""
    return frozenset(name for name, value in parameters.items() if isinstance(value, list | tuple))


@cache
def _numbered(text: str, lists: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    names: dict[str, int] = {}

    def marker(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        number = names.setdefault(name, len(names) + 1)
        return f"${number}" if name in lists else f"${number}::text"

    return PARAMETER.sub(marker, text), tuple(names)


def as_text(value: object) -> object:
    """The value as text that PostgreSQL reads; a list stays a list."""
    match value:
        case None | str() | list():
            return value
        case tuple():
            return list(value)
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
    return str(value)
