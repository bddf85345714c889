"""Enqueuing works on a connection with any settings, factories, adapters and encoding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection, sql
from psycopg.rows import args_row, class_row, dict_row, kwargs_row, namedtuple_row, scalar_row
from psycopg.types.string import TextLoader
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from pgqueue import App
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.errors import ReadOnlyServerError, WrongConnectionError
from tests.stages.all_ways_to_enqueue import check, played, played_async


@dataclass
class Order:
    id: int


@dataclass(init=False)
class Anything:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


class OwnCursor(psycopg.Cursor[Any]):
    """A user's cursor class. The statements of pgqueue must not call its ``execute``."""

    def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
        raise AssertionError("a statement of pgqueue has used the user's cursor")


class OwnAsyncCursor(psycopg.AsyncCursor[Any]):
    """``OwnCursor`` for an AsyncConnection."""

    async def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
        raise AssertionError("a statement of pgqueue has used the user's cursor")


class Shouted(TextLoader):
    """A user's loader, which changes each text to capital letters."""

    def load(self, data: Any) -> str:
        return bytes(data).decode().upper()


ROWS: dict[str, Any] = {
    "dict_row": dict_row,
    "namedtuple_row": namedtuple_row,
    "scalar_row": scalar_row,
    "class_row": class_row(Order),
    "args_row": args_row(Anything),
    "kwargs_row": kwargs_row(Anything),
    "a function of one's own": lambda cursor: lambda values: None,
}

CURSORS: dict[str, tuple[Any, Any]] = {
    "RawCursor": (psycopg.RawCursor, psycopg.AsyncRawCursor),
    "ClientCursor": (psycopg.ClientCursor, psycopg.AsyncClientCursor),
    "a class of one's own": (OwnCursor, OwnAsyncCursor),
}

SETTINGS = [
    "datestyle=German",
    "datestyle=SQL, DMY",
    "datestyle=Postgres, MDY",
    "intervalstyle=sql_standard",
    "intervalstyle=iso_8601",
    "timezone=Pacific/Apia",
    "search_path=nowhere",
    "standard_conforming_strings=off",
    "bytea_output=escape",
    "extra_float_digits=-15",
    "client_encoding=LATIN1",
    "client_encoding=SQL_ASCII",
    "client_encoding=EUC_JP",
    "lc_numeric=C",
    "default_transaction_isolation=serializable",
    "default_transaction_deferrable=on",
    "plan_cache_mode=force_custom_plan",
    "array_nulls=off",
    "xmlbinary=hex",
    "backslash_quote=on",
    "transform_null_equals=on",
]


Play = Callable[..., None]


@pytest.fixture(params=["sync", "async"])
def play_on(request: pytest.FixtureRequest, dsn: str, db: Connection[Any], note: Any, done: int) -> Play:
    """Returns a function that enqueues in all ways on a connection, and checks the rows.

    A test passes options of the connection to this function, or another function that prepares the connection.
    """

    def sync(prepare: Callable[[Any], object] = lambda connection: None, **options: Any) -> None:
        with psycopg.connect(dsn, **options) as connection:
            prepare(connection)
            played(note, done, connection)

    async def asynchronous(prepare: Callable[[Any], object], options: dict[str, Any]) -> None:
        async with await AsyncConnection.connect(dsn, **options) as connection:
            prepare(connection)
            await played_async(note, done, connection)

    def play(prepare: Callable[[Any], object] = lambda connection: None, **options: Any) -> None:
        if request.param == "sync":
            sync(prepare, **options)
        else:
            asyncio.run(asynchronous(prepare, options))
        check(db)

    play.is_async = request.param == "async"
    return play


@pytest.mark.parametrize("factory", ROWS)
def test_enqueuing_works_with_any_row_factory(play_on, factory):
    play_on(row_factory=ROWS[factory])


@pytest.mark.parametrize("factory", CURSORS)
def test_enqueuing_works_with_any_cursor_factory(play_on, factory):
    play_on(cursor_factory=CURSORS[factory][play_on.is_async])


@pytest.mark.parametrize("setting", SETTINGS)
def test_enqueuing_works_under_any_setting_of_the_role(play_on, db, setting):
    """The test changes the setting of the database, because sessions get it in the same way as a setting of their role.

    The euro sign of the arguments is stored whatever the encoding is.
    """
    name, value = setting.split("=")
    database = sql.Identifier(db.info.dbname)
    db.execute(
        sql.SQL("alter database {} set {} = {}").format(database, sql.Identifier(name), sql.Literal(value))
    )
    play_on()


def test_adapters_of_the_connection_do_not_affect_statements_of_pgqueue(play_on):
    def register(connection: Any) -> None:
        for name in ("text", "int8", "bool", "timestamptz", "float8"):
            connection.adapters.register_loader(name, Shouted)
        connection.adapters.register_dumper(str, psycopg.types.numeric.IntDumper)

    play_on(register)


def test_enqueuing_works_in_a_pipeline(note, done, dsn, db):
    with psycopg.connect(dsn) as connection, connection.pipeline():
        played(note, done, connection)
    check(db)


def test_enqueuing_works_in_a_pipeline_of_an_async_connection(note, done, dsn, db):
    async def scenario() -> None:
        async with await AsyncConnection.connect(dsn) as connection, connection.pipeline():
            await played_async(note, done, connection)

    asyncio.run(scenario())
    check(db)


def test_enqueuing_works_inside_a_transaction_of_an_autocommit_connection(note, done, dsn, db):
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
        played(note, done, connection)
    check(db)


def test_enqueuing_works_on_the_raw_connection_of_an_engine(note, done, dsn, db):
    engine = create_engine(sqlalchemy_url(dsn))
    raw = engine.raw_connection()
    played(note, done, raw)
    raw.commit()
    raw.close()
    engine.dispose()
    check(db)


def test_the_raw_connection_of_another_driver_is_refused_in_one_sentence(note, dsn):
    async def scenario() -> None:
        url = sqlalchemy_url(dsn).set(drivername="postgresql+asyncpg")
        query = dict(url.query)
        engine = create_async_engine(url.set(database=query.pop("dbname"), query=query))
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            with pytest.raises(
                WrongConnectionError, match="is a connection of asyncpg, which pgqueue cannot use"
            ):
                note.using(raw).enqueue("a")
        await engine.dispose()

    asyncio.run(scenario())


def test_enqueuing_works_in_a_session_with_another_encoding(note, done, dsn, db):
    engine = create_engine(sqlalchemy_url(dsn), connect_args={"client_encoding": "LATIN1"})
    with Session(engine) as session:
        played(note, done, session)
        session.commit()
    engine.dispose()
    check(db)


OVERLINE_AND_YEN = (
    "‾ and ¥n"  # some encodings of Python turn an overline into a tilde, and a yen sign into a backslash
)


@pytest.mark.parametrize("encoding", ["EUC_JP", "SJIS", "SHIFT_JIS_2004", "LATIN1", "UTF8"])
@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("options", [{}, {"tags": [OVERLINE_AND_YEN]}, {"unique_key": OVERLINE_AND_YEN}])
def test_no_client_encoding_changes_a_character_of_an_argument_tag_or_key(dsn, db, options, count, encoding):
    app = App("")

    @app.task(name="read")
    def read(text: str) -> None: ...

    engine = create_engine(sqlalchemy_url(dsn), connect_args={"client_encoding": encoding})
    with psycopg.connect(dsn, client_encoding=encoding) as connection, Session(engine) as session:
        for transaction in (connection, session):
            handles = read.using(transaction, **options).enqueue_many([{"text": OVERLINE_AND_YEN}] * count)
            transaction.commit()
            assert handles[0].created
            found = db.execute("delete from pgqueue.jobs_live returning args, tags, unique_key").fetchall()
            key = options.get("unique_key")
            assert found == [({"text": OVERLINE_AND_YEN}, options.get("tags", []), key)] * (
                1 if key else count
            )
    engine.dispose()


def test_a_job_with_run_at_can_be_enqueued_on_a_connection_of_asyncpg(dsn, db):
    app, noon = App(""), datetime(2030, 1, 1, 12, tzinfo=UTC)

    @app.task(name="later")
    def later() -> None: ...

    async def scenario() -> None:
        url = sqlalchemy_url(dsn).set(drivername="postgresql+asyncpg")
        query = dict(url.query)
        engine = create_async_engine(url.set(database=query.pop("dbname"), query=query))
        async with engine.begin() as connection:
            await later.using(connection, run_at=noon).aenqueue()
            await later.using(connection, run_at=noon, unique_key="k").aenqueue()
        await engine.dispose()

    asyncio.run(scenario())
    assert db.execute("select run_at from pgqueue.jobs").fetchall() == [(noon,)] * 2


def test_an_enqueue_in_a_read_only_transaction_is_refused(note, dsn):
    with psycopg.connect(dsn, options="-c default_transaction_read_only=on") as connection:
        with pytest.raises(ReadOnlyServerError, match="transaction is read-only"):
            note.using(connection).enqueue("a")
        connection.rollback()
