"""Upgrades a database to the schema of this version of pgqueue, and checks what a database lacks. Only this module imports Alembic."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from psycopg import Connection
from psycopg import Error as DriverError
from psycopg import errors as states

from pgqueue.database import statements
from pgqueue.database.driver_errors import explained, not_upgraded
from pgqueue.database.run import connect, run
from pgqueue.database.statements.server import Locker
from pgqueue.errors import (
    InvalidOptionError,
    LockedError,
    PgQueueError,
    ReadOnlyServerError,
    SchemaMissingError,
    SchemaNotUpgradedError,
    SchemaTooNewError,
    SchemaTooOldError,
    TakenIdError,
    UnsupportedServerError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import functions
from pgqueue.text.counted import count

if TYPE_CHECKING:
    from alembic.config import Config

OLDEST_SERVER = 150_000
HEAD = "0029"
LOCK_PATIENCE = 60.0  # an upgrade fails if locks of other sessions delay it for more seconds than this
WORKERS_LIVE = "PQ004"  # the SQLSTATE by which a revision refuses to run because a worker lives
# In a call, these errors say that the tables are missing, or that a job is bad. In an upgrade, they have another cause.
OF_CALLS = (SchemaMissingError, InvalidOptionError)
SHOWN = 5  # an error lists at most this many workers
MOVE = "select setval('pgqueue.jobs_id_seq', greatest(last_value, {})) from pgqueue.jobs_id_seq"
BODY = re.compile(r"\$function\$(.*)\$function\$", re.DOTALL)


def config(buffer: TextIO | None = None, **attributes: object) -> Config:
    """Returns the configuration of pgqueue's own revisions, for Alembic's commands and its ScriptDirectory."""
    from alembic.config import Config  # noqa: PLC0415 - its import takes a quarter of a second, and only `pgq migrate` needs it

    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    folder = installed if installed.is_dir() else package.parent / "migrations"
    made = Config(output_buffer=buffer)
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes.update(attributes)
    return made


def upgrade(dsn: str, waiting: Callable[[str], None] = lambda _: None) -> None:
    """Creates or upgrades the schema and replaces the functions of the SQL API. Several hosts can run it at the same time.

    Waits 5 s for each lock. If the lock is still not free, calls ``waiting`` with a text that lists the sessions in the way, and tries
    again from the start. If LOCK_PATIENCE seconds have passed, raises LockedError, which lists those sessions.
    """
    from alembic import command  # noqa: PLC0415

    with connect(dsn, name="pgq migrate") as connection:
        check_encoding(connection)
    end = monotonic() + LOCK_PATIENCE
    while True:
        try:
            with explained(dsn):
                command.upgrade(config(dsn=dsn), "head")
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
            # A unique violation means that another host has made the schema meanwhile. Then the next try finds the schema.
            origin = _of_driver(error)
            # A deadlock means that another session locked the same tables in another order.
            if isinstance(origin, (states.UniqueViolation, states.DeadlockDetected)) and monotonic() < end:
                continue
            meant = _meant(error, dsn)
            if meant is error:
                raise
            raise meant from origin
        else:
            return


def _of_driver(error: BaseException | None) -> DriverError | None:
    """Returns the error of psycopg that SQLAlchemy has wrapped, or that ``explained`` has replaced. Returns None if there is no such error."""
    if isinstance(error, PgQueueError):
        error = error.__context__
    origin = getattr(error, "orig", error)
    return origin if isinstance(origin, DriverError) else None


def _meant(error: Exception, dsn: str) -> Exception:
    """Returns the error to raise for an error of an upgrade: the same error, or one that says what the user can do."""
    from alembic.util import CommandError  # noqa: PLC0415

    origin = _of_driver(error)
    if origin is not None and origin.sqlstate == WORKERS_LIVE:
        return _with_workers(origin, dsn)
    if origin is not None and (isinstance(error, OF_CALLS) or not isinstance(error, PgQueueError)):
        return not_upgraded(origin)
    if isinstance(error, CommandError):
        return SchemaNotUpgradedError("The schema cannot be upgraded.", why=str(error), do="pgq doctor")
    return error


def _with_workers(refused: DriverError, dsn: str) -> SchemaTooOldError:
    """Returns an error that lists the workers because of which a revision refused to run."""
    with connect(dsn, name="pgq migrate") as connection:
        living = run(connection, statements.list_living_workers())
    shown = [str(worker) for worker in living[:SHOWN]]
    if len(living) > SHOWN:
        shown.append(f"and {count(len(living) - SHOWN, 'other worker')}")
    return SchemaTooOldError(
        "The schema cannot be changed while workers of an earlier version live.",
        why="; ".join(shown) or str(refused.diag.message_primary),
        do="stop these workers (SIGTERM); if a worker was killed, wait until its lease ends. Then run pgq migrate again, and start workers of this version",
    )


def in_the_way(dsn: str) -> list[Locker]:
    """Returns the transactions that now hold locks on tables of pgqueue."""
    with connect(dsn, name="pgq migrate") as connection:
        return run(connection, statements.list_lockers())


def upgrade_sql(since: str | None = None) -> str:
    """Returns the SQL that ``upgrade`` would run. Needs no connection.

    ``since``: the revision of the schema, as ``pgqueue.schema_version`` says; None: there is no schema. Raises InvalidOptionError if
    there is no such revision.
    """
    from alembic import command  # noqa: PLC0415

    if since is not None and since not in (known := revisions()):
        raise InvalidOptionError(
            f"pgqueue has no revision {since!r}.",
            why=f"its revisions are {known[0]} to {known[-1]}",
            do="select version_num from pgqueue.schema_version",
        )
    buffer = io.StringIO()
    command.upgrade(config(buffer=buffer), f"{since}:head" if since else "head", sql=True)
    return buffer.getvalue()


def revisions() -> list[str]:
    """Returns all revisions of the schema, the first one first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    found = ScriptDirectory.from_config(config()).walk_revisions()
    return [script.revision for script in found][::-1]


def check_encoding(connection: Connection) -> None:
    """Raises UnsupportedServerError if this database is not in UTF8. Arguments of jobs can contain any Unicode text."""
    server = run(connection, statements.describe_server())
    if server.encoding != "UTF8":
        raise UnsupportedServerError(
            f"The database {server.database!r} has the encoding {server.encoding}, which cannot hold every text of a job.",
            do="use a database in UTF8: create database NAME encoding 'UTF8' template template0",
        )


def check_server(connection: Connection) -> None:
    """Raises an error if pgqueue cannot work in this database, because of the server, missing tables or the schema's version."""
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
            f"The database {server.database!r} has schema {revision}; this version needs {HEAD}.",
            do="upgrade pgqueue here: pip install -U pgqueue-jobs",
        )


def check_ids(connection: Connection) -> TakenIdError | None:
    """Returns an error (not raised) if the sequence of the ids is smaller than the largest id in the tables. Otherwise returns None."""
    drawn, largest = run(connection, statements.compare_ids())
    if drawn >= largest:
        return None
    return TakenIdError(
        f"The sequence pgqueue.jobs_id_seq stands at {drawn}, behind the id {largest} of a job, so ids are used twice.",
        do=MOVE.format(largest),
    )


def differences(connection: Connection) -> list[str]:
    """Returns a sentence for each function of the SQL API that is missing, or that is not the function of this version."""
    installed = run(connection, statements.list_function_bodies())
    found = []
    for name, text in functions().items():
        body = BODY.search(text)
        assert body is not None, name
        if name not in installed:
            found.append(f"function pgqueue.{name} is missing")
        elif body.group(1).strip() not in [one.strip() for one in installed[name]]:
            found.append(f"function pgqueue.{name} is not the function of this version")
    return found
