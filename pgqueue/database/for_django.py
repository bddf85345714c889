"""A transaction of Django whose commit completes a job. Django is imported only if the caller gives a connection of Django."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from psycopg.pq import TransactionStatus

from pgqueue.database.joining import joined
from pgqueue.errors import WrongConnectionError

COMPLETION_SETS = ("search_path", "idle_in_transaction_session_timeout")  # before_commit.sql sets these


class DjangoConnection(Protocol):
    """What pgqueue calls on a connection of Django, which has no types of its own."""

    alias: str
    connection: Any
    in_atomic_block: bool
    atomic_blocks: Sequence[Any]
    errors_occurred: bool
    needs_rollback: bool
    rollback_exc: BaseException | None

    def cursor(self) -> Any: ...
    def get_autocommit(self) -> bool: ...
    def validate_no_broken_transaction(self) -> None: ...


@contextmanager
def begun_on_django(connection: DjangoConnection) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Opens a block of ``transaction.atomic``. Yields a function that checks whether it can be committed, and one that commits it.

    An error rolls the block back. The functions of ``transaction.on_commit`` run after the commit. If the handler already is in a block
    of ``atomic``, raises WrongConnectionError: the job would be completed before that block is committed, or though it is rolled back.
    Only the block with which Django's TestCase surrounds a test is no such block.
    """
    from django.db.transaction import Atomic  # noqa: PLC0415

    joined(connection)
    is_nested = connection.in_atomic_block
    if is_nested and not _is_in_test(connection):
        raise WrongConnectionError(
            f"job.transaction(using=…) was called in a block of atomic() on the connection {connection.alias!r}.",
            why="the commit of the outer block would come after the completion of the job",
            do="call job.transaction(using=connection) outside of atomic(); in its block, atomic() makes savepoints",
        )
    before = _settings(connection) if is_nested else ()
    atomic: Any = Atomic(connection.alias, savepoint=True, durable=False)
    atomic.__enter__()
    depth, is_open = len(connection.atomic_blocks), True

    def check() -> None:
        if len(connection.atomic_blocks) != depth:
            raise WrongConnectionError(
                f"A block of atomic() on the connection {connection.alias!r} is still open.",
                do="leave every block of atomic() before the block of job.transaction() ends",
            )
        connection.validate_no_broken_transaction()

    def commit() -> None:
        nonlocal is_open
        check()
        is_open = False
        atomic.__exit__(None, None, None)
        if before:  # the completion has changed them for the rest of the transaction, which goes on in a test
            _set(connection, before)

    try:
        yield check, commit
    except BaseException:
        if is_open:
            atomic.__exit__(*sys.exc_info())
        raise
    if is_open:
        commit()


@contextmanager
def errors_noted(connection: DjangoConnection) -> Iterator[None]:
    """If a statement of the block has aborted the transaction or lost the connection, Django learns it, as from its own cursors.

    Otherwise, a block of ``atomic`` that catches the error would end with a COMMIT, which the server answers with a rollback, silently.
    """
    try:
        yield
    except BaseException as error:
        driver = connection.connection
        if driver is not None and (
            driver.closed or driver.info.transaction_status is TransactionStatus.INERROR
        ):
            connection.errors_occurred = True
            if connection.in_atomic_block:
                connection.needs_rollback, connection.rollback_exc = True, error
        raise


def _settings(connection: DjangoConnection) -> tuple[str, ...]:
    with connection.cursor() as cursor:
        cursor.execute("select " + ", ".join(f"current_setting('{name}')" for name in COMPLETION_SETS))
        return tuple(cursor.fetchone())


def _set(connection: DjangoConnection, values: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        changes = ", ".join(f"pg_catalog.set_config('{name}', %s, true)" for name in COMPLETION_SETS)
        cursor.execute(f"select {changes}", values)


def _is_in_test(connection: DjangoConnection) -> bool:
    return bool(connection.atomic_blocks) and getattr(connection.atomic_blocks[-1], "_from_testcase", False)
