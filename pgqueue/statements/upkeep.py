"""Upkeep: days, retention, indexes, queues, seats."""

from __future__ import annotations

from pgqueue.rows import DayChange, Fault, IndexFault, Locker, Miscount, Storage
from pgqueue.sql import Statement
from pgqueue.statements.making import column, each, one, statement


def discover_queues() -> Statement[list[str]]:
    return statement("discover_queues", column)


def purge(count: int) -> Statement[tuple[int, int]]:
    return statement("purge", lambda rows: (rows[0][0], rows[0][1]), count=count)


def add_partitions(days: int) -> Statement[list[DayChange]]:
    return statement("add_partitions", each(DayChange), days=days)


def drop_partitions() -> Statement[DayChange | None]:
    """None: nothing is over age."""
    return statement("drop_partitions", lambda rows: DayChange(*rows[0]) if rows else None)


def list_expiring() -> Statement[dict[str, str]]:
    """Table to the days before which its rows may go."""
    return statement("list_expiring", lambda rows: {row[0]: row[1] for row in rows})


def purge_jobs(child: str, first: int, count: int) -> Statement[int | None]:
    """The next block to begin with; None at the end of the table."""
    return statement("purge_jobs", one, child=child, first=first, count=count)


def check_partitions() -> Statement[list[Fault]]:
    return statement("check_partitions", each(Fault))


def check_indexes(floor: int) -> Statement[list[IndexFault]]:
    """``floor``: an index smaller than this many bytes is never outgrown."""
    return statement("check_indexes", each(IndexFault), floor=floor)


def index_size(index: str) -> Statement[int]:
    return statement("index_size", one, index=index)


def list_holders() -> Statement[set[str]]:
    return statement("list_holders", lambda rows: {row[0] for row in rows})


def list_lockers() -> Statement[list[Locker]]:
    return statement("list_lockers", each(Locker))


def measure_storage() -> Statement[Storage]:
    return statement("measure_storage", lambda rows: Storage(*rows[0]))


def compare_ids() -> Statement[tuple[int, int]]:
    """The last id drawn from the sequence, and the largest of a job."""
    return statement("compare_ids", lambda rows: (rows[0][0], rows[0][1]))


def heal_seats() -> Statement[list[Miscount]]:
    """Seats whose count was wrong: none, ever."""
    return statement("heal_seats", each(Miscount))
