"""Performs the steps of an action or an undo, on a connection of its own. If they fail, the audit says at once that they stopped, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue.database import statements
from pgqueue.database.outage import is_lost, one_line
from pgqueue.database.run import run, run_async
from pgqueue.database.silence import within
from pgqueue.database.statements import Who
from pgqueue.errors import DatabaseUnreachableError, PgQueueError
from pgqueue.sql import Statement
from pgqueue.text.counted import count
from pgqueue.ui.acting.operations import Progress

C = TypeVar("C")

ANSWER = 3.0  # seconds in which the server must answer to the note that an action has stopped


class Noted(Protocol):
    """What the audit notes. ``open_row``: its row in the audit, as long as no other row says that it has ended."""

    open_row: int | None
    progress: Progress

    @property
    def who(self) -> Who: ...


class Steps(Noted, Protocol[C]):
    """An ``Operation`` or an ``Undo``."""

    dry_run: bool

    def next_statement(self) -> Statement[object] | None: ...
    def took(self, answer: object) -> list[C]: ...
    def failed(self, error: Exception) -> list[C]: ...


def perform(connection: Connection, steps: Steps[C]) -> Iterator[list[C]]:
    """Performs the steps on an autocommit connection. Yields what was done with some more jobs; ``steps.progress`` says how far it is.

    A dry run rolls each slice back.
    """
    try:
        with loss_explained(steps.progress):
            while (statement := steps.next_statement()) is not None:
                try:
                    if steps.dry_run:
                        with connection.transaction(force_rollback=True):
                            answer = run(connection, statement)
                    else:
                        answer = run(connection, statement)
                except (PgQueueError, psycopg.Error) as error:
                    found = steps.failed(error)
                else:
                    found = steps.took(answer)
                if found:
                    yield found
    except BaseException as error:
        end_row(connection, steps, error)
        raise


async def perform_async(connection: AsyncConnection, steps: Steps[C]) -> AsyncIterator[list[C]]:
    """``perform`` on an autocommit AsyncConnection."""
    try:
        with loss_explained(steps.progress):
            while (statement := steps.next_statement()) is not None:
                try:
                    if steps.dry_run:
                        async with connection.transaction(force_rollback=True):
                            answer = await run_async(connection, statement)
                    else:
                        answer = await run_async(connection, statement)
                except (PgQueueError, psycopg.Error) as error:
                    found = steps.failed(error)
                else:
                    found = steps.took(answer)
                if found:
                    yield found
    except BaseException as error:
        await end_row_async(connection, steps, error)
        raise


# ---------------------------------------------------------------- when they stop


@contextmanager
def loss_explained(progress: Progress) -> Iterator[None]:
    """Turns the loss of the server during an action into one sentence: what was done before, and where the rest can be seen."""
    try:
        yield
    except (PgQueueError, psycopg.Error) as error:
        if not is_lost(error):
            raise
        done = f" {count(progress.changed, 'job')} had been changed before." if progress.changed else ""
        row = progress.audit_id
        raise DatabaseUnreachableError(
            f"The database went away during the action.{done}",
            why=one_line(error),
            do="the audit says what was done: pgq audit " + ("list" if row is None else f"show {row}"),
        ) from error


def end_row(connection: Connection, steps: Noted, error: BaseException) -> None:
    """Writes into the audit why the action has stopped, if it has an open row and the server answers."""
    if steps.open_row is not None:
        with suppress(PgQueueError, psycopg.Error), within(connection, ANSWER):
            run(connection, _note(steps.open_row, steps, error))
            steps.open_row = None


async def end_row_async(connection: AsyncConnection, steps: Noted, error: BaseException) -> None:
    """``end_row`` on an AsyncConnection."""
    if steps.open_row is not None:
        with suppress(PgQueueError, psycopg.Error), within(connection, ANSWER):
            await run_async(connection, _note(steps.open_row, steps, error))
            steps.open_row = None


def _note(row: int, steps: Noted, error: BaseException) -> Statement[int]:
    why = "it was interrupted"
    if isinstance(error, Exception):
        why = one_line(error.why or error.what if isinstance(error, PgQueueError) else error)
    return statements.end_operation(row, steps.who, why)
