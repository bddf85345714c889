"""Our statements mean the same on any connection of a caller, with any set-up for the caller's own statements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection, sql
from psycopg.rows import args_row, class_row, dict_row, kwargs_row, namedtuple_row, scalar_row
from psycopg.types.string import TextLoader
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from pgqueue import App, Task
from pgqueue.database import statements
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.database.pools import Pools
from pgqueue.database.run import CLAIMING, ORDINARY, PINNED, connect, connect_async, run
from pgqueue.errors import AutocommitWarning, InvalidOptionError, ReadOnlyServerError, WrongConnectionError
from tests.schedules_by_hand import NOON, add, play, runs

EURO = "10 €, in any encoding"


@dataclass
class Order:
    id: int


@dataclass(init=False)
class Anything:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


class OwnCursor(psycopg.Cursor[Any]):
    """A user's own, with an execute of his own."""

    def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
        raise AssertionError("our statements are not the user's")


class OwnAsyncCursor(psycopg.AsyncCursor[Any]):
    async def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
        raise AssertionError("our statements are not the user's")


class Shouted(TextLoader):
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


@pytest.fixture
def note(app: App) -> Iterator[Task[..., Any]]:
    @app.task(name="note")
    def note(text: str, at: datetime | None = None) -> None: ...

    return note


@pytest.fixture
def done(note: Task[..., Any], db: Connection[Any]) -> int:
    """A finished job with a result and a key that remembers it."""
    handle = note.using(idempotency_key="done").enqueue(EURO)
    db.execute(
        "with gone as (delete from pgqueue.jobs_live returning id, task, args) insert into pgqueue.jobs_done"
        " (id, task, args, queue, state, run_at, created_at, finished_at, attempt, result) select id, task, args, 'default',"
        " 'completed', now(), now(), now(), 1, to_jsonb('€'::text) from gone"
    )
    return handle.id


def played(note: Task[..., Any], done: int, connection: Connection[Any]) -> None:
    chosen = note.using(connection)
    one = chosen.enqueue(EURO, at=datetime(2026, 1, 2, tzinfo=UTC))
    keyed = note.using(connection, unique_key="k", delay="1h", tags=["a"], meta={"n": 1.5}).enqueue(EURO)
    again = note.using(connection, unique_key="k").enqueue("other")
    assert (again.created, again.id, again.state) == (False, keyed.id, "pending")
    ended = note.using(connection, idempotency_key="done").enqueue(EURO)
    assert (ended.id, ended.state, ended.stored_result) == (done, "completed", "€")
    few, many = chosen.enqueue_many([{"text": EURO}] * 3), chosen.enqueue_many([{"text": EURO}] * 150)
    assert all(isinstance(handle.id, int) and handle.created for handle in [one, *few, *many])
    one.edit(connection, args={"text": "edited €"}, priority=3)
    assert keyed.cancel(connection) == "cancelled"


async def played_async(note: Task[..., Any], done: int, connection: AsyncConnection[Any]) -> None:
    chosen = note.using(connection)
    one = await chosen.aenqueue(EURO, at=datetime(2026, 1, 2, tzinfo=UTC))
    keyed = await note.using(connection, unique_key="k", delay="1h", tags=["a"], meta={"n": 1.5}).aenqueue(
        EURO
    )
    again = await note.using(connection, unique_key="k").aenqueue("other")
    assert (again.created, again.id, again.state) == (False, keyed.id, "pending")
    ended = await note.using(connection, idempotency_key="done").aenqueue(EURO)
    assert (ended.id, ended.state, ended.stored_result) == (done, "completed", "€")
    few = await chosen.aenqueue_many([{"text": EURO}] * 3)
    many = await chosen.aenqueue_many([{"text": EURO}] * 150)
    assert all(isinstance(handle.id, int) and handle.created for handle in [one, *few, *many])
    await one.aedit(connection, args={"text": "edited €"}, priority=3)
    assert await keyed.acancel(connection) == "cancelled"


def check(db: Connection[Any]) -> None:
    rows = db.execute(
        "select args ->> 'text', priority, count(*) from pgqueue.jobs_live group by 1, 2 order by 1"
    )
    assert rows.fetchall() == [(EURO, 0, 153), ("edited €", 3, 1)]


Play = Callable[..., None]


@pytest.fixture(params=["sync", "async"])
def play_on(request: pytest.FixtureRequest, dsn: str, db: Connection[Any], note: Any, done: int) -> Play:
    """Plays the whole of it on a connection opened and prepared in some way, and looks at the rows."""

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
def test_any_row_factory(play_on, factory):
    play_on(row_factory=ROWS[factory])


@pytest.mark.parametrize("factory", CURSORS)
def test_any_cursor_factory(play_on, factory):
    play_on(cursor_factory=CURSORS[factory][play_on.is_async])


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_setting_of_the_role(play_on, db, setting):
    """Of the database, as a role's comes by the same way; encodings that lack the euro sign get it all the same."""
    name, value = setting.split("=")
    database = sql.Identifier(db.info.dbname)
    db.execute(
        sql.SQL("alter database {} set {} = {}").format(database, sql.Identifier(name), sql.Literal(value))
    )
    play_on()


def test_adapters_of_the_connection_are_for_the_users_own_statements(play_on):
    def register(connection: Any) -> None:
        for name in ("text", "int8", "bool", "timestamptz", "float8"):
            connection.adapters.register_loader(name, Shouted)
        connection.adapters.register_dumper(str, psycopg.types.numeric.IntDumper)

    play_on(register)


def test_a_pipeline(note, done, dsn, db):
    with psycopg.connect(dsn) as connection, connection.pipeline():
        played(note, done, connection)
    check(db)


def test_a_pipeline_of_an_async_connection(note, done, dsn, db):
    async def scenario() -> None:
        async with await AsyncConnection.connect(dsn) as connection, connection.pipeline():
            await played_async(note, done, connection)

    asyncio.run(scenario())
    check(db)


def test_autocommit_inside_a_transaction(note, done, dsn, db):
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
        played(note, done, connection)
    check(db)


def test_the_raw_connection_of_an_engine_takes_part(note, done, dsn, db):
    engine = create_engine(sqlalchemy_url(dsn))
    raw = engine.raw_connection()
    played(note, done, raw)
    raw.commit()
    raw.close()
    engine.dispose()
    check(db)


def test_the_raw_connection_of_another_driver_is_refused_in_a_sentence(note, dsn):
    async def scenario() -> None:
        url = sqlalchemy_url(dsn).set(drivername="postgresql+asyncpg")
        query = dict(url.query)
        engine = create_async_engine(url.set(database=query.pop("dbname"), query=query))
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            with pytest.raises(WrongConnectionError, match="is one of asyncpg, which pgqueue does not speak"):
                note.using(raw).enqueue("a")
        await engine.dispose()

    asyncio.run(scenario())


def test_a_session_in_another_encoding(note, done, dsn, db):
    engine = create_engine(sqlalchemy_url(dsn), connect_args={"client_encoding": "LATIN1"})
    with Session(engine) as session:
        played(note, done, session)
        session.commit()
    engine.dispose()
    check(db)


OVERLINE_AND_YEN = "‾ and ¥n"  # Python sends a tilde and a backslash in their place


@pytest.mark.parametrize("encoding", ["EUC_JP", "SJIS", "SHIFT_JIS_2004", "LATIN1", "UTF8"])
@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("options", [{}, {"tags": [OVERLINE_AND_YEN]}, {"unique_key": OVERLINE_AND_YEN}])
def test_no_encoding_puts_another_character_in_the_place_of_one(dsn, db, options, count, encoding):
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


def test_a_time_may_be_chosen_on_asyncpg(dsn, db):
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


def test_a_read_only_transaction_is_told_as_what_it_is(note, dsn):
    with psycopg.connect(dsn, options="-c default_transaction_read_only=on") as connection:
        with pytest.raises(ReadOnlyServerError, match="transaction is read-only"):
            note.using(connection).enqueue("a")
        connection.rollback()


# ------------------------------------------------------------------ two phases


@pytest.fixture
def listening(connect: Callable[..., Connection[Any]]) -> Connection[Any]:
    connection = connect()
    connection.execute("listen pgqueue")
    return connection


def heard(listening: Connection[Any]) -> list[str]:
    return [notify.payload for notify in listening.notifies(timeout=0.2)]


def finish(db: Connection[Any]) -> None:
    [(gid,)] = db.execute("select gid from pg_prepared_xacts where database = current_database()").fetchall()
    db.execute(sql.SQL("commit prepared {}").format(sql.Literal(gid)))


def test_a_two_phase_transaction_of_psycopg_is_prepared_and_its_jobs_are_found(
    note, done, dsn, db, listening
):
    with psycopg.connect(dsn) as connection:
        connection.tpc_begin(connection.xid(1, "pgqueue", "test"))
        played(note, done, connection)
        connection.tpc_prepare()
        connection.tpc_commit()
    check(db)
    assert heard(listening) == []


def test_a_two_phase_transaction_of_an_async_connection(note, done, dsn, db, listening):
    async def scenario() -> None:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.tpc_begin(connection.xid(1, "pgqueue", "test"))
            await played_async(note, done, connection)
            await connection.tpc_prepare()
            await connection.tpc_commit()

    asyncio.run(scenario())
    check(db)
    assert heard(listening) == []


@pytest.mark.parametrize("way", ["connection", "session"])
def test_a_two_phase_transaction_of_sqlalchemy(note, done, dsn, db, listening, way):
    engine = create_engine(sqlalchemy_url(dsn))
    if way == "connection":
        with engine.connect() as connection:
            two_phase = connection.begin_twophase()
            played(note, done, connection)
            two_phase.prepare()
            two_phase.commit()
    else:
        with Session(engine, twophase=True) as session:
            played(note, done, session)
            session.prepare()
            session.commit()
    engine.dispose()
    check(db)
    assert heard(listening) == []


def test_a_two_phase_transaction_of_an_async_session(note, done, dsn, db, listening):
    async def scenario() -> None:
        engine = create_async_engine(sqlalchemy_url(dsn))
        async with AsyncSession(engine, twophase=True) as session:
            await played_async(note, done, session)
            await session.commit()
        await engine.dispose()

    asyncio.run(scenario())
    check(db)
    assert heard(listening) == []


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda task: task.enqueue("a"),
        lambda task: task.using(unique_key="a").enqueue("a"),
        lambda task: task.using(idempotency_key="a").enqueue("a"),
        lambda task: task.enqueue_many([{"text": "a"}] * 3),
        lambda task: task.enqueue_many([{"text": "a"}] * 200),
        lambda task: task.enqueue_many([{"text": "a"}, {"text": "b"}], unique_keys=["a", "held"]),
        lambda task: task.using(unique_key="held", on_conflict="replace").enqueue("a"),
        lambda task: task.using(unique_key="b", throttle=5).enqueue("a"),
    ],
    ids=["alone", "unique", "idempotent", "a few", "COPY", "keys", "replace", "throttle"],
)
def test_an_enqueue_without_a_wake_up_can_be_prepared_by_hand(note, dsn, db, listening, enqueue):
    note.using(unique_key="held", delay=60).enqueue("held")
    with psycopg.connect(dsn) as connection:
        enqueue(note.using(connection, wake=False))
        connection.execute("prepare transaction 'by hand'")
    finish(db)
    assert heard(listening) == []


def test_the_sql_api_enqueues_without_a_wake_up_beside_jobs_that_wake_their_queue(db, listening):
    with db.transaction():
        db.execute("""select pgqueue.enqueue('t', '{}', '{"wake": false}')""")
        db.execute("""select pgqueue.enqueue_many('[{"task": "t", "wake": false, "unique_key": "a"},
                      {"task": "t", "queue": "mail", "unique_key": "b"}, {"task": "t", "wake": false, "queue": "slow"}]')""")
    assert heard(listening) == ["mail"]


def test_in_sql_a_transaction_can_tell_that_it_sends_no_notification(note, db, listening):
    running = note.enqueue("a")
    heard(listening)
    with db.transaction():
        db.execute("set local pgqueue.notify = off")
        db.execute("select pgqueue.enqueue('t'), pgqueue.edit(%s, '{\"delay\": 0}')", [running.id])
        db.execute(
            "update pgqueue.jobs_live set state = 'running', worker_id = 1 where id = %s", [running.id]
        )
        db.execute("select pgqueue.cancel(%s)", [running.id])
    assert heard(listening) == []


def test_a_wake_up_is_yes_or_no(note):
    with pytest.raises(InvalidOptionError, match="give True or False"):
        note.using(wake="no")


# ------------------------------------------------------------------ Django


@pytest.fixture
def django(dsn: str) -> Iterator[Any]:
    """The connections of a Django project with this database as its default."""
    settings = pytest.importorskip("django.conf").settings
    known = psycopg.conninfo.conninfo_to_dict(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": known["dbname"],
        "USER": known.get("user", ""),
        "PASSWORD": known.get("password", ""),
        "HOST": known.get("host", ""),
        "PORT": known.get("port", ""),
        "OPTIONS": {"server_side_binding": True},
    }
    other = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True)
    import django

    django.setup()
    import django.db.transaction
    from django.db.utils import ConnectionHandler

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        handler = ConnectionHandler({"default": database, "other": other})
        stack.callback(handler.close_all)
        patch.setattr(django.db, "connections", handler)
        patch.setattr(django.db.transaction, "connections", handler)
        patch.setitem(django.db.connection.__dict__, "_connections", handler)
        yield django.db


def test_djangos_connection_takes_part_in_atomic(note, done, db, django):
    with django.transaction.atomic():
        played(note, done, django.connection)
        with suppress(ZeroDivisionError), django.transaction.atomic():
            note.using(django.connections["default"]).enqueue("taken back with its savepoint")
            raise ZeroDivisionError
    check(db)
    with suppress(ZeroDivisionError), django.transaction.atomic():
        note.using(django.connection).enqueue("taken back")
        raise ZeroDivisionError
    check(db)


def test_djangos_connection_outside_atomic_is_warned_about(note, django):
    with pytest.warns(AutocommitWarning, match=r"transaction\.atomic"):
        note.using(django.connection).enqueue("alone")


def test_a_broken_atomic_of_django_takes_no_job(note, django):
    from django.db.transaction import TransactionManagementError

    with django.transaction.atomic():
        django.transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            note.using(django.connection).enqueue("in vain")


def test_another_database_of_django_is_refused_in_a_sentence(note, django):
    with pytest.raises(WrongConnectionError, match="Django's connection 'other' leads to sqlite"):
        note.using(django.connections["other"]).enqueue("a")


# ------------------------------------------------------------------ our own sessions

HOSTILE = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Apia",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
}
OURS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
}


@pytest.fixture
def hostile(db: Connection[Any], dsn: str) -> str:
    """The DSN of a database whose settings are as odd as they may be."""
    for name, value in HOSTILE.items():
        database = sql.Identifier(db.info.dbname)
        db.execute(
            sql.SQL("alter database {} set {} = {}").format(
                database, sql.Identifier(name), sql.Literal(value)
            )
        )
    return dsn


def is_ours(name: str, value: str) -> bool:
    return value.split(",", maxsplit=1)[0] == OURS[name]


def test_our_sessions_set_what_their_statements_depend_on(hostile):
    with connect(hostile) as connection:
        assert all(is_ours(name, connection.execute(f"show {name}".encode()).fetchone()[0]) for name in OURS)

    async def scenario(session: str) -> None:
        async with await connect_async(hostile, name="test", session=session) as connection:
            for name in OURS:
                [(value,)] = await (await connection.execute(f"show {name}".encode())).fetchall()
                assert is_ours(name, value), name

    for session in (PINNED, CLAIMING, ORDINARY):
        asyncio.run(scenario(session))


def test_schedules_fire_and_jobs_are_read_whatever_the_databases_settings(hostile, db):
    add(db, "hourly", cron="0 * * * *")
    play(hostile, [NOON, NOON.replace(hour=13)])
    assert runs(db, "hourly")
    app = App(hostile)

    @app.task(name="late")
    def late(text: str) -> None: ...

    handle = late.using(delay=60).enqueue(EURO)
    assert handle.job().args == {"text": EURO}
    late.enqueue_many([{"text": EURO}] * 150)
    with connect(hostile) as connection:
        assert len(run(connection, statements.list_jobs(count=500))) > 150
    app.close()


def test_a_pool_speaks_utf_8(hostile):
    pools = Pools(lambda: hostile)
    with pools.connection() as connection:
        assert connection.execute("show client_encoding").fetchone() == ("UTF8",)
    pools.close()


def test_no_statement_holds_a_backslash_that_a_setting_could_change():
    """With standard_conforming_strings off, one in a plain literal is an escape, also inside functions."""
    from pgqueue import sql as texts

    for name, statement in {
        **{name: texts.load(name) for name in texts.names()},
        **texts.functions(),
        **texts.views(),
    }.items():
        code = texts.COMMENT.sub("", statement)
        plain = code.split("E'")[0] + "".join(part.split("'", 1)[1] for part in code.split("E'")[1:])
        assert "\\" not in plain, name
