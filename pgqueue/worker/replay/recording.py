"""Notes the statements that a handler runs, on the connections of each driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable

from pgqueue.runtime.clock import monotonic
from pgqueue.text.described import describe
from pgqueue.worker.replay.findings import Notes, Ran, ended_by_handler

# asyncpg sends these by itself, for the blocks of a replay
COMMANDS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT")


def record_psycopg(connection: Connection[Any] | AsyncConnection[Any], name: str, notes: Notes) -> None:
    """Gives a psycopg connection a class of cursors that notes what it runs."""
    factory: Any = connection.cursor_factory
    make = _async_class if isinstance(connection, AsyncConnection) else _sync_class
    connection.cursor_factory = make(factory, name, notes)


def _sync_class(factory: Any, name: str, notes: Notes) -> Any:
    class Recorded(factory):  # type: ignore[misc]
        def execute(self, query: object, *args: Any, **kwargs: Any) -> Any:
            _require_open(self, notes)
            with notes.timed(name, _text(query, self)) as ran:
                found = super().execute(query, *args, **kwargs)
                ran.rows = _counted(self.rowcount)
            return found

        def executemany(self, query: object, *args: Any, **kwargs: Any) -> None:
            _require_open(self, notes)
            with notes.timed(name, _text(query, self)) as ran:
                super().executemany(query, *args, **kwargs)
                ran.rows = _counted(self.rowcount)

        @contextmanager
        def copy(self, statement: object, *args: Any, **kwargs: Any) -> Iterator[Any]:
            _require_open(self, notes)
            with notes.timed(name, _text(statement, self)) as ran:
                with super().copy(statement, *args, **kwargs) as copying:
                    yield copying
                ran.rows = _counted(self.rowcount)

    return Recorded


def _async_class(factory: Any, name: str, notes: Notes) -> Any:
    class Recorded(factory):  # type: ignore[misc]
        async def execute(self, query: object, *args: Any, **kwargs: Any) -> Any:
            _require_open(self, notes)
            with notes.timed(name, _text(query, self)) as ran:
                found = await super().execute(query, *args, **kwargs)
                ran.rows = _counted(self.rowcount)
            return found

        async def executemany(self, query: object, *args: Any, **kwargs: Any) -> None:
            _require_open(self, notes)
            with notes.timed(name, _text(query, self)) as ran:
                await super().executemany(query, *args, **kwargs)
                ran.rows = _counted(self.rowcount)

        @asynccontextmanager
        async def copy(self, statement: object, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            _require_open(self, notes)
            with notes.timed(name, _text(statement, self)) as ran:
                async with super().copy(statement, *args, **kwargs) as copying:
                    yield copying
                ran.rows = _counted(self.rowcount)

    return Recorded


def record_sqlalchemy(connection: Any, name: str, notes: Notes) -> Callable[[], None]:
    """Notes what SQLAlchemy's (sync) connection runs. Returns a function that ends this."""
    from sqlalchemy import event  # noqa: PLC0415 - so that only users of SQLAlchemy wait for its import

    begun: list[Ran] = []
    is_on = True

    def before(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if not is_on:
            return
        notes.check()
        begun.append(Ran(name, text, seconds=monotonic()))

    def after(_connection: Any, cursor: Any, *_: Any) -> None:
        end(rows=_counted(cursor.rowcount))

    def failed(context: Any) -> None:
        if context.connection is connection:
            end(error=describe(context.original_exception))

    def end(rows: int | None = None, error: str | None = None) -> None:
        if begun:
            one = begun.pop()
            one.seconds, one.rows, one.error = monotonic() - one.seconds, rows, error
            notes.ran(one)

    event.listen(connection, "before_cursor_execute", before)
    event.listen(connection, "after_cursor_execute", after)
    event.listen(connection.engine, "handle_error", failed)  # SQLAlchemy has no such event for one connection

    def stop() -> None:
        nonlocal is_on
        is_on = False
        event.remove(connection.engine, "handle_error", failed)

    return stop


def record_asyncpg(connection: Any, name: str, notes: Notes) -> Callable[[], None]:
    """Notes what asyncpg's connection runs, without the counts of rows, which asyncpg does not give. Returns a function that ends this."""

    def logged(one: Any) -> None:
        if not one.query.lstrip().startswith(COMMANDS):
            error = None if one.exception is None else describe(one.exception)
            notes.ran(Ran(name, one.query, None, one.elapsed, error))

    connection.add_query_logger(logged)
    return lambda: connection.remove_query_logger(logged)


def _require_open(cursor: Any, notes: Notes) -> None:
    notes.check()
    if cursor.connection.info.transaction_status is TransactionStatus.IDLE:
        raise ended_by_handler()


def _counted(rowcount: int) -> int | None:
    return rowcount if rowcount >= 0 else None


def _text(query: object, cursor: Any) -> str:
    if isinstance(query, Composable):
        return query.as_string(cursor)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
