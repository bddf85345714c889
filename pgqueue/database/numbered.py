"""Statements for asyncpg, directly or below SQLAlchemy: asyncpg needs numbered parameters, and values of exactly their types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import LiteralString, TypedDict

COPY = re.compile(r"copy (\w+)\.(\w+)\s*\(([\w,\s]+)\)\s*from stdin \(format binary\)")
PARAMETER = re.compile(r"%\((\w+)\)s|%%")


def numbered(text: LiteralString, parameters: Mapping[str, object]) -> tuple[str, list[object]]:
    """Returns (the text with ``$1::text`` in place of ``%(name)s``, the values in the order of these numbers).

    Each parameter of pgqueue's statements has a cast. So asyncpg can send each value as text, and the server converts the text to the
    type of the cast. Lists are passed as lists, because their cast is to text[].
    """
    changed, names = _numbered(text, lists_in(parameters))
    return changed, [as_text(parameters[name]) for name in names]


def lists_in(parameters: Mapping[str, object]) -> frozenset[str]:
    """Returns the names of the parameters whose values are passed as lists."""
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
    """Returns the value as text that PostgreSQL can read. A list stays a list."""
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


class CopiedInto(TypedDict):
    """The arguments of asyncpg's ``copy_to_table`` that name the table and its columns."""

    schema_name: str
    table_name: str
    columns: list[str]


@cache
def copied_into(text: str) -> CopiedInto:
    """Returns what a COPY … FROM STDIN in binary form says: asyncpg takes no statement, but writes it itself."""
    found = COPY.fullmatch(text)
    assert found is not None, text
    return {"schema_name": found[1], "table_name": found[2], "columns": re.split(r",\s*", found[3].strip())}
