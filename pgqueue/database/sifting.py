"""A bad row never stops a statement over many rows. If the statement fails, it is run on each half of the rows, on quarters, and so on.

In the end each failing row is alone, and all other rows have succeeded. Claims, rescues, finishing overdue jobs, settling, progress,
schedules, alerts and declarations all use this module. The kind of error proves little, because a trigger of a user can raise any error
for any row. But if the server was lost, no row is the cause.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import psycopg

from pgqueue.database import statements
from pgqueue.database.driver_errors import describe
from pgqueue.database.outage import REMIND_EVERY, is_lost, may_pass, one_line
from pgqueue.errors import PgQueueError
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import (
    JobGivenUp,
    JobNotGivenUp,
    JobPassedOver,
    NodeRefused,
    WorkflowPassedOver,
)

# Classes of SQLSTATE that a value in a row can cause: cardinality, data, integrity, limits. Such an error is the row's fault: the row is
# given up (the caller says how; a job is made dead).
OF_A_VALUE = ("21", "22", "23", "54")
# Any other error is the row's fault only if other rows succeed. To find out whether they do, this many rows are first tried one by one.
PROBES = 3
# A row with an error of this second kind has perhaps waited for a lock, which takes time. So after this many such rows, a call of ``sift``
# tries no further rows. The next call tries them.
MOST_GIVEN_UP = 20

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
Run = Callable[[Sequence[I]], Awaitable[list[T]]]
Failed = list[tuple[I, Exception]]
Judge = Callable[[I, Exception], Awaitable[None]]


def is_of_a_value(error: BaseException) -> bool:
    """Returns whether a value caused the error: the SQLSTATE says so, or Python could not send or read the value."""
    if isinstance(error, PgQueueError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
        return error.sqlstate.startswith(OF_A_VALUE)
    return isinstance(error, ValueError | TypeError | ArithmeticError | LookupError | RecursionError)


async def _left(_item: object, _error: Exception) -> None:
    """Does nothing: the caller tries the item again in any case."""


async def sift(items: Sequence[I], run: Run[I, T], give_up: Judge[I], leave: Judge[I] = _left) -> list[T]:
    """Calls ``run`` with the items, or with parts of them, and returns all that these calls return.

    For an item that fails even alone, calls ``give_up``. If its error can pass by itself (``may_pass``), calls ``leave`` instead.
    ``run`` returns an empty list if it did nothing. Such a call counts neither as a failure nor as a success.
    If the server was lost, raises that error. If no call returned anything, raises the first error that no value caused: then the
    cause is not in the items, and none of them is given up for it.
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
    """Calls ``give_up`` for each item of ``guilty``. If the error of an item can pass by itself, calls ``leave`` for it instead."""
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
    """Calls ``run`` with each half of ``items``. ``run`` has failed on all of them together with ``error``."""
    if len(items) == 1:
        failed.append((items[0], error))
        return []
    found: list[T] = []
    middle = len(items) // 2
    for part in (items[:middle], items[middle:]):
        if sum(not is_of_a_value(known) for _, known in failed) < MOST_GIVEN_UP:
            found += await _tried(part, run, failed)
    return found


class Send(Protocol):
    """The method of a link that sends a statement."""

    def __call__(self, statement: Statement[T], /) -> Awaitable[T]: ...


async def sift_jobs(
    send: Send,
    whole: Statement[list[T]],
    chosen: Statement[Sequence[int]],
    some: Callable[[Sequence[int]], Statement[list[T]]],
    worker_id: int = 0,
) -> list[T]:
    """Sends the statement ``whole``, which chooses its jobs itself. If it fails, finds the job on which it fails, and makes that job dead.

    To find the job, sends ``chosen``, which returns the ids of the same jobs, and then ``some`` for parts of these ids.
    """
    try:
        found = await send(whole)
    except Exception as error:
        if is_lost(error) or not (ids := await send(chosen)):
            raise
    else:
        return found

    async def run(part: Sequence[int]) -> list[T]:
        return await send(some(part))

    async def give_up(job_id: int, error: Exception) -> None:
        await make_dead(send, job_id, worker_id, error)

    async def leave(job_id: int, error: Exception) -> None:
        pass_over(send, job_id, error)

    return await sift(ids, run, give_up, leave)


def pass_over(
    send: Send,
    id_: int,
    error: Exception | str,
    fact: type[JobPassedOver | NodeRefused | WorkflowPassedOver] = JobPassedOver,
) -> None:
    """Leaves a job, a node or a workflow as it is, so that a later statement tries it again, and reports that."""
    if _is_news(send, fact, id_):
        emit(fact(id_, one_line(error)))


# When each kind of event was last emitted for a job. The link is a part of the key, because another database can have a job of the same id.
_told: dict[tuple[Send, type, int], float] = {}


def _is_news(send: Send, what: type, job_id: int) -> bool:
    now = monotonic()
    for known in [known for known, at in list(_told.items()) if now - at >= REMIND_EVERY]:
        _told.pop(known, None)
    return _told.setdefault((send, what, job_id), now) == now


async def make_dead(
    send: Send, job_id: int, worker_id: int, error: Exception, mask: Callable[[str], str] = str
) -> None:
    """Makes a job dead, because statements over many jobs fail on it. If that fails, too, reports the job and raises nothing.

    ``mask`` hides the secret values of the job, if the caller knows them.
    """
    said = mask(describe(error))
    try:
        task = await send(statements.make_dead(job_id, worker_id, said))
    except Exception as another:
        if is_lost(another) or may_pass(another):
            raise
        if _is_news(send, JobNotGivenUp, job_id):
            # Not ``another`` itself, because its text and its context can show the values of the row.
            bug = Exception(mask(describe(another))).with_traceback(another.__traceback__)
            emit(JobNotGivenUp(job_id, said, bug))
    else:
        if task is not None:
            emit(JobGivenUp(job_id, task, said))
