"""pgqueue's own sessions set all settings on which their statements depend."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection, sql

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.pools import Pools
from pgqueue.database.run import CLAIMING, ORDINARY, PINNED, connect, connect_async, run
from tests.schedules_by_hand import NOON, add, play, runs
from tests.stages.all_ways_to_enqueue import EURO

# The settings of the database, which differ from the usual ones.
HOSTILE = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Apia",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "jit": "on",
}

# The settings that a session of pgqueue must have.
OURS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    "jit": "off",
}


@pytest.fixture
def hostile(db: Connection[Any], dsn: str) -> str:
    """Returns the DSN of a database with unusual settings."""
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


def test_our_sessions_set_all_settings_on_which_their_statements_depend(hostile):
    with connect(hostile) as connection:
        assert all(is_ours(name, connection.execute(f"show {name}".encode()).fetchone()[0]) for name in OURS)

    async def scenario(session: str) -> None:
        async with await connect_async(hostile, name="test", session=session) as connection:
            for name in OURS:
                [(value,)] = await (await connection.execute(f"show {name}".encode())).fetchall()
                assert is_ours(name, value), name

    for session in (PINNED, CLAIMING, ORDINARY):
        asyncio.run(scenario(session))


def test_schedules_fire_and_jobs_are_read_under_any_settings_of_the_database(hostile, db):
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


def test_the_connections_of_a_pool_use_utf_8(hostile):
    pools = Pools(lambda: hostile)
    with pools.connection() as connection:
        assert connection.execute("show client_encoding").fetchone() == ("UTF8",)
    pools.close()


def test_no_statement_contains_a_backslash_whose_meaning_depends_on_a_setting():
    """With standard_conforming_strings off, a backslash is an escape even in a literal without E, also inside functions."""
    from pgqueue import sql as texts

    for name, statement in {
        **{name: texts.load(name) for name in texts.names()},
        **texts.functions(),
        **texts.views(),
    }.items():
        code = texts.COMMENT.sub("", statement)
        plain = code.split("E'")[0] + "".join(part.split("'", 1)[1] for part in code.split("E'")[1:])
        assert "\\" not in plain, name


# ---------------------------------------------------------------- a session that cannot be set up

BAD = "select 1 / 0"


def test_a_connection_whose_session_cannot_be_set_up_is_closed(dsn, monkeypatch):
    """Otherwise the server keeps the session until Python happens to collect the connection."""
    opened: list[Any] = []

    def noting(connection: Any) -> Any:
        opened.append(connection)
        return connection

    of_sync, of_async = Connection.connect, AsyncConnection.connect

    async def connect_and_note(*args: Any, **options: Any) -> Any:
        return noting(await of_async(*args, **options))

    monkeypatch.setattr("psycopg.connect", lambda *args, **options: noting(of_sync(*args, **options)))
    monkeypatch.setattr(AsyncConnection, "connect", connect_and_note)
    monkeypatch.setattr("pgqueue.database.run.ORDINARY", BAD)
    with pytest.raises(psycopg.Error):
        connect(dsn)
    with pytest.raises(psycopg.Error):
        asyncio.run(connect_async(dsn, name="test", session=f"{BAD};"))
    assert [connection.closed for connection in opened] == [True, True]


def test_a_connection_is_closed_if_its_opener_is_cancelled_during_the_setup(dsn, monkeypatch):
    opened: list[Any] = []
    of_async = AsyncConnection.connect

    async def connect_and_note(*args: Any, **options: Any) -> Any:
        opened.append(await of_async(*args, **options))
        return opened[-1]

    async def scenario() -> None:
        opening = asyncio.create_task(connect_async(dsn, name="test", session="select pg_sleep(60);"))
        while not opened:
            await asyncio.sleep(0.001)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    monkeypatch.setattr(AsyncConnection, "connect", connect_and_note)
    asyncio.run(scenario())
    assert opened[0].closed
