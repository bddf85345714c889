"""Statements for SQLAlchemy: it needs another mark for parameters, and values as text, because asyncpg can be below it (``numbered``)."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pgqueue import errors
from pgqueue.database.joining import CallersConnection, is_async, is_async_sqlalchemy, is_sync_sqlalchemy
from pgqueue.database.numbered import as_text, lists_in
from pgqueue.sql import Statement

if TYPE_CHECKING:
    from sqlalchemy import TextClause

    from pgqueue.database.joining import SqlAlchemyAsync, SqlAlchemySync

PARAMETER = re.compile(r"%\((\w+)\)s")
COLON = re.compile(
    r"(?<!:):(?=\w)"
)  # SQLAlchemy would read the word after a colon as a parameter, also inside a string


def sync_sqlalchemy(connection: CallersConnection) -> SqlAlchemySync:
    """Returns SQLAlchemy's Connection or Session. If it is something else, raises WrongConnectionError."""
    if is_sync_sqlalchemy(connection):
        return connection
    raise _of_the_wrong_kind(connection)


def async_sqlalchemy(connection: CallersConnection) -> SqlAlchemyAsync:
    """``sync_sqlalchemy`` for an AsyncConnection or AsyncSession."""
    if is_async_sqlalchemy(connection):
        return connection
    raise _of_the_wrong_kind(connection)


def _of_the_wrong_kind(connection: CallersConnection) -> errors.WrongConnectionError:
    kind, verb = (
        ("an async", "await task.aenqueue(…)") if is_async(connection) else ("a sync", "task.enqueue(…)")
    )
    return errors.WrongConnectionError(f"This is {kind} connection.", do=f"use {verb}")


def text_and_values(statement: Statement[object]) -> tuple[TextClause, dict[str, object]]:
    """Returns what ``execute`` of SQLAlchemy takes. The values are passed as text, because asyncpg would need the exact types (numbered.py)."""
    parameters = statement.parameters
    values = {name: as_text(value) for name, value in parameters.items()}
    return text_for(statement.text, lists_in(parameters)), values


@cache
def text_for(text: str, lists: frozenset[str] = frozenset()) -> TextClause:
    from sqlalchemy import text as as_clause  # noqa: PLC0415 - so that only users of SQLAlchemy wait for its import

    def marker(found: re.Match[str]) -> str:
        return f"(:{found[1]})" if found[1] in lists else f"(:{found[1]})::text"

    literal = COLON.sub(r"\:", text)
    return as_clause(PARAMETER.sub(marker, literal).replace("%%", "%"))
