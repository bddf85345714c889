"""The statements that group errors by their fingerprint: the class of the error, and the innermost frame of the application."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pgqueue.database.statements.decoding import column, statement
from pgqueue.database.statements.masking import each_shown
from pgqueue.sql import Row, Statement

FAILURES_READ = 10_000  # a list of errors reads at most this many failures, and this many dead jobs


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failures of one origin, such as ``ValueError in charge (shop/billing.py)``.

    ``error``, ``job_id``: the newest failure. ``in_hour``, ``in_day``, ``in_week``: numbers of failed attempts. ``dead``: dead jobs now.
    ``tasks``, ``queues``: of the 20 newest jobs. ``read_since``: failures before this time were not read, so the numbers can be larger;
    None: all failures of the last 7 days were read.
    """

    fingerprint: str
    origin: str
    error: str
    in_hour: int
    in_day: int
    in_week: int
    first_at: datetime | None
    last_at: datetime | None
    dead: int
    job_id: int
    tasks: list[str]
    queues: list[str]
    read_since: datetime | None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt. ``to_state``: retrying, dead or cancelled."""

    at: datetime
    job_id: int
    to_state: str
    error: str
    traceback: str | None


CLASS = re.compile(
    r"[A-Za-z_][\w.]{0,127}(?::|\s*\Z)", re.ASCII
)  # at the start of an error, as error_origin.sql reads it


def _groups(rows: Sequence[Row]) -> list[ErrorGroup]:
    """Decodes groups, masked. An error without a class has its first line without numbers as its origin, in which no value is recognised."""
    found = each_shown(ErrorGroup, "origin", "error")(rows)
    return [
        group
        if CLASS.match(row[2]) or group.error == row[2]
        else replace(group, origin=group.error.split("\n", 1)[0][:120])
        for group, row in zip(found, rows, strict=True)
    ]


def list_errors(
    fingerprint: str | None = None, *, count: int = 50, most: int = FAILURES_READ
) -> Statement[list[ErrorGroup]]:
    """Lists groups of errors, the one that failed last first. With a fingerprint, only that group."""
    return statement("list_errors", _groups, fingerprint=fingerprint, count=count, most=most)


def list_failures(
    fingerprint: str, *, count: int = 10, most: int = FAILURES_READ
) -> Statement[list[FailedAttempt]]:
    return statement(
        "list_failures",
        each_shown(FailedAttempt, "error", "traceback"),
        fingerprint=fingerprint,
        count=count,
        most=most,
    )


def list_dead_of_error(fingerprint: str) -> Statement[list[int]]:
    """Returns the ids of the dead jobs with this fingerprint, the newest first: of the newest 1,000 of each task, and the newest 10,000 in all."""
    return statement("list_dead_of_error", column, fingerprint=fingerprint, most=FAILURES_READ)
