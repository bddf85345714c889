"""Masks what statements return about jobs, before people see it. Only this module and ``shown_job`` mask texts of jobs.

Such a statement ends with the columns of sql/jobs/fragments/secret_documents.sql.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pgqueue.config import secret_names
from pgqueue.database.statements.decoding import plain
from pgqueue.model.redaction import masked
from pgqueue.model.shown_job import redaction_of, secrets_of
from pgqueue.sql import Row

T = TypeVar("T")
COLUMNS = 5  # of the fragment


def secrets_in(row: Row) -> frozenset[str]:
    """Returns the secret values of the job of a row."""
    task, args, result, meta, redact = row[-COLUMNS:]
    return secrets_of(
        plain(args), plain(result), plain(meta), redaction_of(task, plain(redact)), secret_names()
    )


def each_shown(make: type[T], *texts: str, reveal: bool = False) -> Callable[[Sequence[Row]], list[T]]:
    """Returns a function that decodes rows, and masks in the fields ``texts`` of each the secret values of its job.

    A row without documents is about the same job as the row before it, or has no such text, or its job was deleted.
    """
    at = [make.__match_args__.index(name) for name in texts]  # type: ignore[attr-defined]

    def decode(rows: Sequence[Row]) -> list[T]:
        found: list[T] = []
        values = frozenset[str]()
        for row in rows:
            if not reveal and row[-COLUMNS] is not None:
                values = secrets_in(row)
            fields: list[Any] = [*row[:-COLUMNS]]
            for position in at:
                fields[position] = fields[position] and masked(fields[position], values)
            found.append(make(*fields))
        return found

    return decode
