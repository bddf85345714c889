"""``pgq alerts``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import AlertNotFoundError
from pgqueue.model.units import seconds
from pgqueue.text.times import ago
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import emit, emit_items, say
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See, resolve and mute alerts.")

All = Annotated[bool, typer.Option("--all", help="List resolved alerts, too.")]


@commands.callback(invoke_without_command=True)
def alerts(context: typer.Context, all_: All = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """See, resolve and mute alerts. Without a command, lists the open alerts."""
    if context.invoked_subcommand is None:
        list_alerts(all_, as_json, dsn)


@commands.command("list")
def list_alerts(all_: All = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List open alerts, the newest first. With --all, list resolved alerts, too."""
    with database(dsn) as connection:
        found = run(connection, statements.list_alerts(all_))
    if as_json:
        emit_items(found)
        return
    table(
        ("id", "kind", tables.name("subject"), "count", "since", "seen", "state", tables.text("text")),
        [
            (
                a.id,
                a.kind,
                a.subject,
                a.count,
                ago(a.first_at),
                ago(a.last_at),
                "resolved" if a.resolved_at else "muted" if a.muted_until else "open",
                a.text,
            )
            for a in found
        ],
        empty="No alert is open." if not all_ else "There has been no alert.",
    )


@commands.command()
def resolve(alert: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Close an alert. When its cause is found again, a new alert opens. For dead jobs, a new alert opens when another job becomes dead."""
    with database(dsn) as connection:
        was_open = run(connection, statements.resolve_alert(alert, who=operator()))
    if was_open is None:
        raise _not_found(alert)
    if as_json:
        emit({"id": alert, "resolved": True, "was_open": was_open})
    else:
        say(
            "resolved" if was_open else "unchanged",
            f"alert {alert}" + ("" if was_open else " was resolved already"),
        )


@commands.command()
def mute(
    alert: Id,
    for_: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long: 30m, 12h, 7d; 0 unmutes the alert.")
    ] = "1d",
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Until the time of --for has passed, send no messages about this alert and about later alerts with the same subject."""
    duration = seconds(for_, "--for")
    with database(dsn) as connection:
        until = run(connection, statements.mute_alert(alert, duration, who=operator()))
    if until is None:
        raise _not_found(alert)
    if as_json:
        emit({"id": alert, "muted_until": until})
    else:
        say(
            "muted" if duration else "unmuted",
            f"alert {alert}" + (f" until {until:%Y-%m-%d %H:%M}" if duration else ""),
        )


def _not_found(alert: int) -> AlertNotFoundError:
    return AlertNotFoundError(f"There is no alert {alert}.", do="pgq alerts --all")
