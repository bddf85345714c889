"""``pgq errors``: failures grouped by their fingerprint."""

from __future__ import annotations

from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.errors import ErrorGroup
from pgqueue.errors import ErrorGroupNotFoundError
from pgqueue.text.shown import block
from pgqueue.text.times import ago
from pgqueue.ui.acting.operations import Action
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import DryRun, change, operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import as_dict, emit, emit_items, say, tell
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See errors, grouped by their cause, and retry their jobs.", no_args_is_help=True)

Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="A fingerprint that `pgq errors list` prints, or its beginning.")
]  # fmt: skip


@commands.command("list")
def list_errors(
    limit: Annotated[int, typer.Option("-n", "--limit", metavar="N", min=1, max=1000)] = 50,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List the errors of the last 7 days, grouped by their class and the innermost frame of the application. Reads the newest 10,000 failures."""
    with database(dsn) as connection:
        found = run(connection, statements.list_errors(count=limit))
    if as_json:
        emit_items(found)
        return
    table(
        ("fingerprint", tables.name("origin"), "1h", "24h", "7d", "dead", "last", "job", tables.name("tasks"), tables.text("error")),
        [(e.fingerprint, e.origin, e.in_hour, e.in_day, e.in_week, e.dead, ago(e.last_at), e.job_id, ", ".join(e.tasks), e.error)
         for e in found],
        empty="No job has failed in the last 7 days, and no job is dead.",
    )  # fmt: skip
    if found and found[0].read_since:
        say(
            "note",
            f"only the newest failures were read, those since {ago(found[0].read_since)}: there can be more",
        )


@commands.command()
def show(fingerprint: Fingerprint, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Show one group of errors, with its newest failures and the traceback of the last one."""
    with database(dsn) as connection:
        group = _find(connection, fingerprint)
        failures = run(connection, statements.list_failures(group.fingerprint))
    if as_json:
        emit({**as_dict(group), "failures": [as_dict(one) for one in failures]})
        return
    for name, value in as_dict(group).items():
        if value is not None and value != []:
            shown = ", ".join(value) if isinstance(value, list) else value
            tell(shown, f"{name:<12} ")
    if failures:
        print()
        table(
            ("at", "job", "became", tables.text("error")),
            [(f"{one.at:%Y-%m-%d %H:%M:%S}", one.job_id, one.to_state, one.error) for one in failures],
            empty="",
        )
        if failures[0].traceback:
            print(f"\n{block(failures[0].traceback.rstrip())}")


@commands.command()
def retry(
    fingerprint: Fingerprint, dry_run: DryRun = False, as_json: AsJson = False, dsn: Dsn = None
) -> None:
    """Revive the dead jobs of one group of errors, up to 1,000 of each task."""
    with database(dsn) as connection:
        group = _find(connection, fingerprint)
        ids = run(connection, statements.list_dead_of_error(group.fingerprint))
    if ids:
        change(dsn, Action(name="retry", who=operator(), ids=ids), dry_run, as_json)
    elif as_json:
        emit({"items": [], "dry_run": dry_run, "audit_id": None})
    else:
        say("total", "no job of this group is dead")


def _find(connection: Connection, fingerprint: str) -> ErrorGroup:
    found = [
        group
        for group in run(connection, statements.list_errors(count=10_000))
        if group.fingerprint.startswith(fingerprint)
    ]
    if len(found) != 1:
        many = "No group" if not found else f"More than one group ({len(found)})"
        raise ErrorGroupNotFoundError(
            f"{many} of errors has a fingerprint that begins with {fingerprint!r:.40}.", do="pgq errors list"
        )
    return found[0]
