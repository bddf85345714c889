"""The statements of upkeep: for day tables, retention, indexes, rows of queues, and the sequence of ids."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgqueue.database.statements.decoding import column, each, one, statement
from pgqueue.sql import Statement


@dataclass(frozen=True, slots=True)
class Storage:
    """The table jobs_live and its claim index. Numbers of rows are the server's estimate, sizes are in bytes.

    ``vacuumed``: whether autovacuum is allowed to work on the table.
    """

    live: int
    dead: int
    table: int
    claim_index: int
    vacuumed: bool


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table of pgqueue, or all partitions of one. Sizes are in bytes; ``live`` and ``dead`` count rows as the server estimates them."""

    name: str
    parts: int
    table: int
    indexes: int
    live: int
    dead: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DayChange:
    """A day table, and a word that says what the statement did with it. ``why``: the error, if the word is refused.

    The comment of functions/add_partitions.sql explains the words.
    """

    name: str
    what: Literal["made", "attached", "dropped", "locked", "crowded", "refused"]
    why: str | None


@dataclass(frozen=True, slots=True)
class PartitionFault:
    """A fault of a partition: missing, detached, detaching, or default (there are rows in a default partition). ``size`` is in bytes."""

    name: str
    fault: str
    size: int


@dataclass(frozen=True, slots=True)
class IndexFault:
    """An index of jobs_live with a ``fault``: outgrown or invalid. ``may_rebuild``: whether this role is allowed to rebuild it."""

    name: str
    fault: str
    size: int
    live: int
    may_rebuild: bool


def discover_queues() -> Statement[list[str]]:
    return statement("discover_queues", column)


def purge(count: int) -> Statement[tuple[int, int]]:
    """Deletes old rows of several tables. Returns (number of deleted idempotency keys, number of deleted workers)."""
    return statement("purge", lambda rows: (rows[0][0], rows[0][1]), count=count)


def add_partitions(days: int) -> Statement[list[DayChange]]:
    return statement("add_partitions", each(DayChange), days=days)


def drop_partitions() -> Statement[DayChange | None]:
    """Drops one day table whose rows are all past their retention. Returns None if there is no such table."""
    return statement("drop_partitions", lambda rows: DayChange(*rows[0]) if rows else None)


def list_over_age_tables() -> Statement[dict[str, str]]:
    """Returns, for each table with rows past their retention, a text with the days before which rows are deleted."""
    return statement("list_over_age_tables", lambda rows: {row[0]: row[1] for row in rows})


def purge_jobs(child: str, first: int, count: int) -> Statement[int | None]:
    """Deletes rows past their retention from ``count`` blocks. Returns the block at which the next call begins; None: the table ends."""
    return statement("purge_jobs", one, child=child, first=first, count=count)


def check_partitions() -> Statement[list[PartitionFault]]:
    return statement("check_partitions", each(PartitionFault))


def check_indexes(floor: int) -> Statement[list[IndexFault]]:
    """Finds faults of indexes. An index smaller than ``floor`` bytes never counts as outgrown."""
    return statement("check_indexes", each(IndexFault), floor=floor)


def measure_index(index: str) -> Statement[int]:
    return statement("measure_index", one, index=index)


def list_obstacles() -> Statement[set[str]]:
    return statement("list_obstacles", lambda rows: {row[0] for row in rows})


def measure_storage() -> Statement[Storage]:
    return statement("measure_storage", lambda rows: Storage(*rows[0]))


def compare_ids() -> Statement[tuple[int, int]]:
    """Returns (the last id that was taken from the sequence, the largest id of a job)."""
    return statement("compare_ids", lambda rows: (rows[0][0], rows[0][1]))


def remove_bench(queue: str, floor: int, count: int) -> Statement[int]:
    """Removes up to ``count`` jobs of a benchmark, whose ids begin at ``floor``, and its other rows. Returns how many jobs."""
    return statement("remove_bench", one, queue=queue, floor=floor, count=count)


def measure_tables() -> Statement[list[TableSize]]:
    return statement("measure_tables", each(TableSize))
