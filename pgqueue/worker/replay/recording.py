"""Notes the statements that a handler runs, on the connections of each driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable

from pgqueue.database.joining import AsyncpgConnection, AsyncpgQuery
from pgqueue.runtime.clock import monotonic
from pgqueue.text.described import describe
from pgqueue.worker.replay.findings import Notes, Ran, ended_by_handler

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlAlchemyConnection
    from sqlalchemy.engine.interfaces import DBAPICursor, ExceptionContext

P = ParamSpec("P")
T = TypeVar("T")
CursorT = TypeVar("CursorT", bound=Cursor | AsyncCursor)

# asyncpg sends these by itself, for the blocks of a replay
COMMANDS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT")


def record_psycopg(connection: Connection | AsyncConnection, name: str, notes: Notes) -> None:
    """Gives a psycopg connection a class of cursors that notes what it runs."""
    recorder = _Recorder(name, notes)
    if isinstance(connection, AsyncConnection):
        async_base = connection.cursor_factory
        connection.cursor_factory = _subclass(
            async_base,
            execute=recorder.noting_async(async_base.execute),
            executemany=recorder.noting_async(async_base.executemany),
            copy=recorder.noting_async_copy(async_base.copy),
        )
    else:
        base = connection.cursor_factory
        connection.cursor_factory = _subclass(
            base,
            execute=recorder.noting(base.execute),
            executemany=recorder.noting(base.executemany),
            copy=recorder.noting_copy(base.copy),
        )


def _subclass(base: type[T], **methods: object) -> type[T]:
    return type("Recorded", (base,), methods)


class _Recorder:
    """Makes the methods of the class of cursors. Each of them notes what it runs by the method of the base class."""

    def __init__(self, name: str, notes: Notes) -> None:
        self._name, self._notes = name, notes

    @contextmanager
    def _noted(
        self, cursor: Cursor | AsyncCursor, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Iterator[None]:
        text = args[0] if args else kwargs.get("query", kwargs.get("statement"))
        _require_open(cursor, self._notes)
        with self._notes.timed(self._name, _text(text, cursor)) as ran:
            yield
            ran.rows = _counted(cursor.rowcount)

    def noting(self, method: Callable[Concatenate[CursorT, P], T]) -> Callable[Concatenate[CursorT, P], T]:
        def run(cursor: CursorT, /, *args: P.args, **kwargs: P.kwargs) -> T:
            with self._noted(cursor, args, kwargs):
                return method(cursor, *args, **kwargs)

        return run

    def noting_async(
        self, method: Callable[Concatenate[CursorT, P], Awaitable[T]]
    ) -> Callable[Concatenate[CursorT, P], Awaitable[T]]:
        async def run(cursor: CursorT, /, *args: P.args, **kwargs: P.kwargs) -> T:
            with self._noted(cursor, args, kwargs):
                return await method(cursor, *args, **kwargs)

        return run

    def noting_copy(
        self, method: Callable[Concatenate[CursorT, P], AbstractContextManager[T]]
    ) -> Callable[Concatenate[CursorT, P], AbstractContextManager[T]]:
        @contextmanager
        def copy(cursor: CursorT, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            with self._noted(cursor, args, kwargs), method(cursor, *args, **kwargs) as copying:
                yield copying

        return copy

    def noting_async_copy(
        self, method: Callable[Concatenate[CursorT, P], AbstractAsyncContextManager[T]]
    ) -> Callable[Concatenate[CursorT, P], AbstractAsyncContextManager[T]]:
        @asynccontextmanager
        async def copy(cursor: CursorT, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            with self._noted(cursor, args, kwargs):
                async with method(cursor, *args, **kwargs) as copying:
                    yield copying

        return copy


def record_sqlalchemy(connection: SqlAlchemyConnection, name: str, notes: Notes) -> Callable[[], None]:
    """Notes what SQLAlchemy's (sync) connection runs. Returns a function that ends this."""
    from sqlalchemy import event  # noqa: PLC0415 - so that only users of SQLAlchemy wait for its import

    begun: list[Ran] = []
    is_on = True

    def before(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if not is_on:
            return
        notes.check()
        begun.append(Ran(name, text, seconds=monotonic()))

    def after(_connection: object, cursor: DBAPICursor, *_: object) -> None:
        end(rows=_counted(cursor.rowcount))

    def failed(context: ExceptionContext) -> None:
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


def record_asyncpg(connection: AsyncpgConnection, name: str, notes: Notes) -> Callable[[], None]:
    """Notes what asyncpg's connection runs, without the counts of rows, which asyncpg does not give. Returns a function that ends this."""

    def logged(one: AsyncpgQuery) -> None:
        if not one.query.lstrip().startswith(COMMANDS):
            error = None if one.exception is None else describe(one.exception)
            notes.ran(Ran(name, one.query, None, one.elapsed, error))

    connection.add_query_logger(logged)
    return lambda: connection.remove_query_logger(logged)


def _require_open(cursor: Cursor | AsyncCursor, notes: Notes) -> None:
    notes.check()
    if cursor.connection.info.transaction_status is TransactionStatus.IDLE:
        raise ended_by_handler()


def _counted(rowcount: int) -> int | None:
    return rowcount if rowcount >= 0 else None


def _text(query: object, cursor: Cursor | AsyncCursor) -> str:
    if isinstance(query, Composable):
        return query.as_string(cursor)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
