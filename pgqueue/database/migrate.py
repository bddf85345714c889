"""Brings a database to this version's schema, and says what the database lacks. Alembic is imported only here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from psycopg import Connection
from psycopg import errors as states

from pgqueue.database import statements
from pgqueue.database.driver_errors import explained
from pgqueue.database.run import connect, run
from pgqueue.database.statements.server import Locker
from pgqueue.errors import (
    LockedError,
    ReadOnlyServerError,
    SchemaMissingError,
    SchemaTooNewError,
    SchemaTooOldError,
    TakenIdError,
    UnsupportedServerError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import functions

if TYPE_CHECKING:
    from alembic.config import Config

OLDEST_SERVER = 150_000
HEAD = "0017"
LOCK_PATIENCE = 60.0  # seconds to wait for locks of other sessions
MOVE = "select setval('pgqueue.jobs_id_seq', greatest(last_value, {})) from pgqueue.jobs_id_seq"
BODY = re.compile(r"\$function\$(.*)\$function\$", re.DOTALL)


def _config(buffer: TextIO | None = None, **attributes: object) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - its import takes a quarter of a second, and only `pgq migrate` needs it

    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    folder = installed if installed.is_dir() else package.parent / "migrations"
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config


def upgrade(dsn: str, waiting: Callable[[str], None] = lambda _: None) -> None:
    """Creates or upgrades the schema and replaces the SQL API. Safe to run on several hosts at once.

    Waits 5 s for each lock. Then it tells ``waiting`` which sessions are in the way, and tries again from the start, until
    LOCK_PATIENCE seconds have passed. After that it raises LockedError, which names those sessions.
    """
    from alembic import command  # noqa: PLC0415

    with connect(dsn, name="pgq migrate") as connection:
        check_encoding(connection)
    end = monotonic() + LOCK_PATIENCE
    while True:
        try:
            with explained(dsn):
                command.upgrade(_config(dsn=dsn), "head")
        except LockedError as error:
            lockers = in_the_way(dsn)
            said = "; ".join(str(locker) for locker in lockers) or "a session that has ended"
            if monotonic() >= end:
                pids = [locker.pid for locker in lockers if locker.pid]
                do = f"end that transaction, or: select pg_terminate_backend({pids[0]}); " if pids else ""
                raise LockedError(
                    "The schema cannot be changed, because tables of it are locked.",
                    why=f"in the way: {said}",
                    do=do + "pgq migrate",
                ) from error
            waiting(said)
        except Exception as error:
            # Another host has made the schema meanwhile.
            if getattr(
                getattr(error, "orig", error), "sqlstate", None
            ) != states.UniqueViolation.sqlstate or (monotonic() >= end):
                raise
        else:
            return


def in_the_way(dsn: str) -> list[Locker]:
    """The transactions that have locked tables of pgqueue now."""
    with connect(dsn, name="pgq migrate") as connection:
        return run(connection, statements.list_lockers())


def upgrade_sql() -> str:
    """The SQL that ``upgrade`` would run on an empty database; needs no connection."""
    from alembic import command  # noqa: PLC0415

    buffer = io.StringIO()
    command.upgrade(_config(buffer=buffer), "head", sql=True)
    return buffer.getvalue()


def check_encoding(connection: Connection) -> None:
    """If this database cannot store jobs, which are Unicode, raises the error that says why."""
    server = run(connection, statements.describe_server())
    if server.encoding != "UTF8":
        raise UnsupportedServerError(
            f"The database {server.database!r} has the encoding {server.encoding}, which cannot hold every text of a job.",
            do="use a database in UTF8: create database NAME encoding 'UTF8' template template0",
        )


def check_server(connection: Connection) -> None:
    """If pgqueue cannot work in this database yet, raises the error that says why."""
    server = run(connection, statements.describe_server())
    if server.version < OLDEST_SERVER:
        raise UnsupportedServerError(
            f"This server is PostgreSQL {server.version // 10_000}.",
            do="pgqueue needs PostgreSQL 15 or later",
        )
    if server.in_recovery:
        raise ReadOnlyServerError(
            "This server is a standby, which is read-only.", do="connect to the primary"
        )
    if not server.installed:
        raise SchemaMissingError(f"The database {server.database!r} has no pgqueue tables.", do="pgq migrate")
    revision = run(connection, statements.read_schema_version()) or "0000"
    if revision < HEAD:
        raise SchemaTooOldError(
            f"The database {server.database!r} has schema {revision}; this version needs {HEAD}.",
            do="pgq migrate",
        )
    if revision > HEAD:
        raise SchemaTooNewError(
            f"The database {server.database!r} has schema {revision}; this version knows {HEAD}.",
            do="upgrade pgqueue here: pip install -U pgqueue-jobs",
        )


def check_ids(connection: Connection) -> TakenIdError | None:
    """The error to report, if the sequence of the ids stands behind the ids in the tables."""
    drawn, largest = run(connection, statements.compare_ids())
    if drawn >= largest:
        return None
    return TakenIdError(
        f"The sequence pgqueue.jobs_id_seq stands at {drawn}, behind the id {largest} of a job, so ids are used twice.",
        do=MOVE.format(largest),
    )


def differences(connection: Connection) -> list[str]:
    """Functions of the SQL API that differ from this version's, one sentence each."""
    installed = run(connection, statements.list_function_bodies())
    found = []
    for name, text in functions().items():
        body = BODY.search(text)
        assert body is not None, name
        if name not in installed:
            found.append(f"function pgqueue.{name} is missing")
        elif installed[name].strip() != body.group(1).strip():
            found.append(f"function pgqueue.{name} is not this version's")
    return found
