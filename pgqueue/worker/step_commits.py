"""Commits checkpoints in transactions of the handler, together with the handler's own rows. These checkpoints are effects and cursors.

A deferred trigger checks the lease during the COMMIT (sql/steps/functions/fence_checkpoint.sql). So while the user's function runs, or
while its process is frozen, the row of the job is not locked, and no other transaction waits for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CoroutineType

from psycopg.errors import UniqueViolation

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.driver_errors import answer_of
from pgqueue.database.opened import AsyncOpened, Opened, aopened, opened
from pgqueue.database.run import run, run_async
from pgqueue.errors import LeaseLostError, StepRefusedError
from pgqueue.model.step_values import ANY
from pgqueue.model.steps import CURSOR, Checkpoint
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Ending

FENCED = "PQ601"
Make = Callable[[object], Checkpoint]


def value_of_sync(value: object, method: str) -> object:
    """Returns what the function of a step has returned to a sync ``method`` of Job. Raises StepRefusedError if that must be awaited."""
    if not inspect.isawaitable(value):
        return value
    if type(value) is CoroutineType:
        value.close()
    raise StepRefusedError(
        f"The function of a step is async, so job.{method}() cannot call it.",
        do=f"write: await job.a{method}(…)",
    )


def commit_effect(
    app: App, attempt: Attempt, call: Callable[[object], object], make: Make
) -> Checkpoint | None:
    """Calls ``call`` with a connection, and commits the rows that it writes, together with a checkpoint that ``make`` makes of its value.

    Returns None, and commits nothing, if the step has a checkpoint already.
    """
    made: list[Checkpoint] = []

    def complete(transaction: Opened) -> None:
        run(transaction.given, _stored(attempt, made[0]))
        transaction.commit()

    with known_errors(attempt):
        try:
            with opened(app.store.pools, None, complete) as connection:
                made.append(make(value_of_sync(call(connection), "step_transaction")))
        except UniqueViolation as error:
            if not _is_of_a_step(error):
                raise
            return None
    return _own(attempt, made[0])


async def acommit_effect(
    app: App, attempt: Attempt, call: Callable[[object], object], make: Make
) -> Checkpoint | None:
    """``commit_effect`` with an async connection. ``call`` can be sync or async."""
    made: list[Checkpoint] = []

    async def complete(transaction: AsyncOpened) -> None:
        await run_async(transaction.given, _stored(attempt, made[0]))
        await transaction.commit()

    with known_errors(attempt):
        try:
            async with aopened(app.store.pools, None, complete) as connection:
                value = call(connection)
                made.append(make(await value if inspect.isawaitable(value) else value))
        except UniqueViolation as error:
            if not _is_of_a_step(error):
                raise
            return None
    return _own(attempt, made[0])


def save(app: App, attempt: Attempt, value: object, using: object) -> None:
    """Stores the place that the job has come to: in the transaction of ``using``, or in a separate transaction if ``using`` is None."""
    with known_errors(attempt):
        if using is not None:
            run(using, _cursor(app, attempt, value))
            attempt.doubt_checkpoint()
            return
        with app.connection() as connection:
            run(connection, _cursor(app, attempt, value))
    attempt.note_checkpoint()


async def asave(app: App, attempt: Attempt, value: object, using: object) -> None:
    """``save`` on async connections."""
    with known_errors(attempt):
        if using is not None:
            await run_async(using, _cursor(app, attempt, value))
            attempt.doubt_checkpoint()
            return
        async with app.aconnection() as connection:
            await run_async(connection, _cursor(app, attempt, value))
    attempt.note_checkpoint()


def version_of(app: App, attempt: Attempt) -> int | None:
    """Returns the version of the attempt's task, with which its checkpoints are stored. None: the task has no version."""
    task = app.tasks.get(attempt.task)
    return None if task is None else task.spec.version


def _stored(attempt: Attempt, made: Checkpoint) -> Statement[None]:
    return statements.store_effect(attempt.worker_id, attempt.id, attempt.lease_id, made)


def _cursor(app: App, attempt: Attempt, value: object) -> Statement[None]:
    text = ANY.encode(CURSOR, value)
    return statements.save_cursor(
        attempt.worker_id, attempt.id, attempt.lease_id, text, version_of(app, attempt)
    )


def _own(attempt: Attempt, made: Checkpoint) -> Checkpoint:
    attempt.note_checkpoint()
    return made._replace(lease_id=attempt.lease_id)


@contextmanager
def known_errors(attempt: Attempt) -> Iterator[None]:
    """If the block raises the error with which the trigger refuses a lost lease, raises LeaseLostError instead."""
    try:
        yield
    except Exception as error:
        answer = answer_of(error)
        if answer is None or answer.state != FENCED:
            raise
        attempt.end(Ending.LOST)
        raise LeaseLostError(attempt.id, attempt.lease_id) from error


def _is_of_a_step(error: UniqueViolation) -> bool:
    return error.diag.schema_name == "pgqueue" and (error.diag.table_name or "").startswith("checkpoints")
