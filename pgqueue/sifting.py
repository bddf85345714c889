"""One row never stops a statement over many: the statement is tried on halves, until the row that fails is alone and the others are done.

Claims, rescues, sweeps, settles, progress, schedules, alerts and declarations all use it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg

from pgqueue import statements
from pgqueue.errors import PgQueueError
from pgqueue.sql import Statement

# Classes of SQLSTATE that a value can cause: cardinality, data, integrity, limits. One such error gives up the row.
OF_A_VALUE = ("21", "22", "23", "54")
# A check option, a trigger, a damaged page, no memory: if other rows succeed, the error is the row's, else it is every row's.
PERHAPS_OF_A_ROW = ("44", "P0", "XX", "53200")

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
log = logging.getLogger("pgqueue")


def _is_of_a_value(error: BaseException) -> bool:
    """Whether a value is at fault: by the server's word, or because it could not be sent or read here."""
    if isinstance(error, PgQueueError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
        return error.sqlstate.startswith(OF_A_VALUE)
    return isinstance(error, ValueError | TypeError | ArithmeticError | LookupError | RecursionError)


def is_of_a_row(error: BaseException) -> bool:
    """Whether leaving out one row may help."""
    return _is_of_a_value(error) or (
        isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(PERHAPS_OF_A_ROW)
    )


async def sift(
    items: Sequence[I],
    run: Callable[[Sequence[I]], Awaitable[list[T]]],
    give_up: Callable[[I, Exception], Awaitable[None]],
) -> list[T]:
    """Returns what ``run`` returns for all items but those on which it fails, which are given up. Raises any error that is not a row's."""
    failed: list[tuple[I, Exception]] = []
    found = await _halves(items, run, failed)
    if len(failed) == len(items):
        for _, error in failed:
            if not _is_of_a_value(error):
                raise error
    for item, error in failed:
        await give_up(item, error)
    return found


async def _halves(
    items: Sequence[I],
    run: Callable[[Sequence[I]], Awaitable[list[T]]],
    failed: list[tuple[I, Exception]],
) -> list[T]:
    try:
        return await run(items)
    except Exception as error:
        if not items or not is_of_a_row(error):
            raise
        if len(items) == 1:
            failed.append((items[0], error))
            return []
    middle = len(items) // 2
    return [*await _halves(items[:middle], run, failed), *await _halves(items[middle:], run, failed)]


def listed(statement: Statement[T]) -> Statement[list[T]]:
    """The same statement, with what it returns as the only item of a list."""
    return Statement(
        statement.name, statement.text, statement.parameters, lambda rows: [statement.decode(rows)]
    )


Send = Callable[[Statement[Any]], Awaitable[Any]]


async def sift_jobs(
    send: Send,
    whole: Statement[list[T]],
    chosen: Statement[Sequence[int]],
    some: Callable[[Sequence[int]], Statement[list[T]]],
    worker_id: int = 0,
) -> list[T]:
    """Sends ``whole``, which chooses its jobs itself. If one of them stops it, sends ``some`` for parts of those it would choose, and buries that one.

    ``send``: a method of a link.
    """
    try:
        found: list[T] = await send(whole)
    except Exception as error:
        if not is_of_a_row(error) or not (ids := await send(chosen)):
            raise
    else:
        return found

    async def run(part: Sequence[int]) -> list[T]:
        rows: list[T] = await send(some(part))
        return rows

    async def give_up(job_id: int, error: Exception) -> None:
        await bury(send, job_id, worker_id, error)

    return await sift(ids, run, give_up)


async def bury(send: Send, job_id: int, worker_id: int, error: Exception) -> None:
    """Makes a job dead that stops statements over many. If even that fails, a log line says so, and the others go on."""
    said = f"{type(error).__name__}: {error}"[:4000].replace("\x00", "")
    try:
        task = await send(statements.bury(job_id, worker_id, said))
    except Exception as another:
        if not is_of_a_row(another):
            raise
        log.exception("job %d stops statements over many (%s), and cannot be buried", job_id, said)
    else:
        if task is not None:
            log.error("job %d (%s) is dead, undecodable: %s", job_id, task, said)
