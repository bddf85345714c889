"""One row never stops a statement over many rows: if it fails, it is tried on halves, until the failing row is alone.

Claims, rescues, ends of overdue jobs, settles, progress, schedules, alerts and declarations all use this module. The kind of error
decides little, because a user's trigger may raise any error: only a lost server is never a row's fault.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg

from pgqueue.database import statements
from pgqueue.database.outage import REMIND_EVERY, is_lost, may_pass, one_line
from pgqueue.errors import PgQueueError
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import JobGivenUp, JobNotGivenUp, JobPassedOver

# Classes of SQLSTATE that a value can cause: cardinality, data, integrity, limits. One such error gives up the row.
OF_A_VALUE = ("21", "22", "23", "54")
# Any other error is the row's fault only if other rows succeed. To learn whether they do, this many rows are tried alone first.
PROBES = 3
# The most rows that are given up in one go for such errors, because each row may have waited for a lock. The next go takes the others.
MOST_GIVEN_UP = 20

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
Run = Callable[[Sequence[I]], Awaitable[list[T]]]
Failed = list[tuple[I, Exception]]
Judge = Callable[[I, Exception], Awaitable[None]]


def is_of_a_value(error: BaseException) -> bool:
    """Whether a value is at fault: the server says so, or the value could not be sent or read here."""
    if isinstance(error, PgQueueError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
        return error.sqlstate.startswith(OF_A_VALUE)
    return isinstance(error, ValueError | TypeError | ArithmeticError | LookupError | RecursionError)


async def _left(_item: object, _error: Exception) -> None:
    """The item is tried again in any case."""


async def sift(items: Sequence[I], run: Run[I, T], give_up: Judge[I], leave: Judge[I] = _left) -> list[T]:
    """Returns what ``run`` returns for the items on which it succeeds. An item that fails is given up, or left if its error may pass.

    If ``run`` did nothing, it returns nothing: such a part proves nothing about other items.
    If the server was lost, raises that error. If ``run`` did nothing for any item, raises an error that no value caused.
    """
    try:
        return await run(items)
    except Exception as error:
        if is_lost(error) or not items:
            raise
        first = error
    found: list[T] = []
    failed: Failed[I] = []
    probes: list[int] = []
    if len(items) > PROBES and not is_of_a_value(first):
        probes = sorted(random.sample(range(len(items)), PROBES))
        for place in probes:
            found += await _tried([items[place]], run, failed)
    if probes and len(failed) == PROBES and not any(is_of_a_value(known) for _, known in failed):
        raise failed[0][1]
    rest = [item for place, item in enumerate(items) if place not in probes]
    found += await (_tried(rest, run, failed) if probes else _halved(rest, run, failed, first))
    guilty = [(item, known) for item, known in failed if found or is_of_a_value(known)]
    await judge(guilty, give_up, leave)
    for _, known in failed:
        if not found and not is_of_a_value(known):
            raise known
    return found


async def judge(guilty: Failed[I], give_up: Judge[I], leave: Judge[I]) -> None:
    """Gives up items that failed while others succeeded, or because of their values. Leaves an item whose error may pass."""
    for item, error in guilty:
        await (leave if may_pass(error) else give_up)(item, error)


async def _tried(items: Sequence[I], run: Run[I, T], failed: Failed[I]) -> list[T]:
    try:
        return await run(items)
    except Exception as error:
        if is_lost(error):
            raise
        return await _halved(items, run, failed, error)


async def _halved(items: Sequence[I], run: Run[I, T], failed: Failed[I], error: Exception) -> list[T]:
    """Tries each half of ``items``, because ``run`` has failed on all of them together."""
    if len(items) == 1:
        failed.append((items[0], error))
        return []
    found: list[T] = []
    middle = len(items) // 2
    for part in (items[:middle], items[middle:]):
        if sum(not is_of_a_value(known) for _, known in failed) < MOST_GIVEN_UP:
            found += await _tried(part, run, failed)
    return found


Send = Callable[[Statement[Any]], Awaitable[Any]]


async def sift_jobs(
    send: Send,
    whole: Statement[list[T]],
    chosen: Statement[Sequence[int]],
    some: Callable[[Sequence[int]], Statement[list[T]]],
    worker_id: int = 0,
) -> list[T]:
    """Sends ``whole``, which chooses its jobs itself. If a job stops ``whole``, sends ``some`` for parts of the same jobs, and makes that job dead.

    ``send``: a method of a link.
    """
    try:
        found: list[T] = await send(whole)
    except Exception as error:
        if is_lost(error) or not (ids := await send(chosen)):
            raise
    else:
        return found

    async def run(part: Sequence[int]) -> list[T]:
        rows: list[T] = await send(some(part))
        return rows

    async def give_up(job_id: int, error: Exception) -> None:
        await make_dead(send, job_id, worker_id, error)

    async def leave(job_id: int, error: Exception) -> None:
        pass_over(send, job_id, error)

    return await sift(ids, run, give_up, leave)


def pass_over(send: Send, job_id: int, error: Exception) -> None:
    """Leaves a job as it is, to be tried again, and reports that."""
    if _is_news(send, JobPassedOver, job_id):
        emit(JobPassedOver(job_id, one_line(error)))


# When each event was last emitted for a job. The link is a part of the key, because another database may have a job of the same id.
_told: dict[tuple[Send, type, int], float] = {}


def _is_news(send: Send, what: type, job_id: int) -> bool:
    now = monotonic()
    for known in [known for known, at in list(_told.items()) if now - at >= REMIND_EVERY]:
        _told.pop(known, None)
    return _told.setdefault((send, what, job_id), now) == now


async def make_dead(send: Send, job_id: int, worker_id: int, error: Exception) -> None:
    """Makes a job dead that stops statements over many jobs. If it cannot be made dead, reports that, and the other jobs go on."""
    said = f"{type(error).__name__}: {error}"[:4000].replace("\x00", "")
    try:
        task = await send(statements.make_dead(job_id, worker_id, said))
    except Exception as another:
        if is_lost(another) or may_pass(another):
            raise
        if _is_news(send, JobNotGivenUp, job_id):
            emit(JobNotGivenUp(job_id, said, another))
    else:
        if task is not None:
            emit(JobGivenUp(job_id, task, said))
