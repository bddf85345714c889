"""``pgq migrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import migrate, statements
from pgqueue.database.dsn import redact
from pgqueue.database.run import connect, run
from pgqueue.errors import (
    InvalidOptionError,
    ReadOnlyServerError,
    SchemaTooNewError,
    SchemaTooOldError,
    UnsupportedServerError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.text.times import exact
from pgqueue.ui.cli.common import AsJson, Dsn, dsn_or_running
from pgqueue.ui.cli.output import emit, say


def add(cli: typer.Typer) -> None:
    cli.command("migrate")(command)


def command(
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL; no connection is made.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REVISION",
            help="With --sql: the revision of the schema (default: there is no schema).",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; exit 0 if the schema fits this version of pgqueue, else 4."
        ),
    ] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Create or upgrade pgqueue's schema in the database."""
    if since is not None and not sql:
        raise InvalidOptionError("--from is given without --sql.", do="pgq migrate reads the revision itself")
    if sql:
        print(migrate.upgrade_sql(since))
        return
    target = dsn_or_running(dsn)
    with connect(target, name="pgq migrate", lock=5) as connection:
        if check:
            migrate.check_server(connection)
            if different := migrate.differences(connection):
                raise SchemaTooOldError(
                    "The SQL API does not fit this version of pgqueue: " + "; ".join(different),
                    do="pgq migrate",
                )
            _print_result(as_json, "current", target, 0.0)
            return
        migrate.check_encoding(connection)
        server = run(connection, statements.describe_server())
        current = False
        if server.installed:
            try:
                migrate.check_server(connection)
                current = not migrate.differences(connection)
            except SchemaTooOldError:
                pass
            except (SchemaTooNewError, UnsupportedServerError, ReadOnlyServerError):
                raise
        elif server.version < migrate.OLDEST_SERVER or server.in_recovery:
            migrate.check_server(connection)
    begun = monotonic()
    migrate.upgrade(target, lambda said: say("waits", f"a lock is held by {said}"))
    with connect(target, name="pgq migrate") as connection:
        run(connection, statements.add_partitions(3))
        behind = migrate.check_ids(connection)
    _print_result(as_json, "current" if current else "migrated", target, monotonic() - begun)
    if behind and not as_json:
        say("warning", behind.what)
        say("do", behind.do)


def _print_result(as_json: bool, what: str, target: str, took: float) -> None:
    if as_json:
        emit({"schema": migrate.HEAD, "result": what, "seconds": round(took, 3)})
        return
    place = f"schema pgqueue at {migrate.HEAD} in {redact(target)}"
    if what == "current":
        say(what, f"{place}: there was nothing to do")
        return
    say(what, f"{place}, in {exact(took)}")
    say("next", "pgq work -A module:app")
