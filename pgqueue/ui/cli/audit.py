"""``pgq audit``: who did what, and the undo of it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.actions import AuditRow
from pgqueue.errors import ActionNotFoundError, ActionNotUndoneError, InvalidOptionError
from pgqueue.model.refusal import reasons, why_refused
from pgqueue.text.times import ago
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator, performed
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import as_dict, emit, emit_items, say, shown_json, tell
from pgqueue.ui.cli.pages import PageSize, before_option, page
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See what operators did, and undo it.", no_args_is_help=True)


@commands.command("list")
def list_audit(
    actor: Annotated[
        str | None, typer.Option(help="Only actions of this person.", show_default=False)
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(help="Only actions of this kind, such as retry or pause.", show_default=False),
    ] = None,
    job: Annotated[
        int | None, typer.Option(metavar="ID", min=1, help="Only actions on this job.", show_default=False)
    ] = None,
    limit: PageSize = 50,
    before: Annotated[int | None, before_option("actions")] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List the actions of operators, the newest first: by pgq, the web page, the API or SQL."""
    most, below = page(limit, before)
    with database(dsn) as connection:
        found = run(
            connection,
            statements.list_audit(actor=actor, action=action, job_id=job, before=below, count=most),
        )
    if as_json:
        emit_items(found, found[-1].id if len(found) == limit else None)
        return
    table(
        ("id", "when", tables.name("actor"), "source", "action", tables.name("about"), "changed", "refused", tables.text("undo")),
        [(a.id, ago(a.at), a.actor, a.source, a.action, _about(a), a.changed, sum(a.refused.values()) or "", _undo(a))
         for a in found],
        empty="No action was noted.",
    )  # fmt: skip


def _about(row: AuditRow) -> str:
    return ", ".join(
        f"{name} {shown_json(value) if isinstance(value, list | dict) else value}"
        for name, value in row.about.items()
        if value is not None
    )


def _undo(row: AuditRow) -> str:
    if row.is_undoing:
        return "an undo goes on"
    if row.undone_by is not None and row.undo_until is None:
        return f"undone by {row.undone_by}"
    return "" if row.undo_until is None else f"possible, the time ends {ago(row.undo_until)}"


@commands.command()
def show(audit_id: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Show one action, with the jobs that it changed or refused (the first 200)."""
    with database(dsn) as connection:
        row = _get(connection, audit_id)
        jobs = run(connection, statements.list_audited_jobs(audit_id))
    if as_json:
        emit({**as_dict(row), "jobs": [{"id": job_id, "refused": refused} for job_id, refused in jobs]})
        return
    for name, value in as_dict(row).items():
        if value not in (None, {}, ""):
            shown = shown_json(value) if isinstance(value, dict) else value
            tell(shown, f"{name:<12} ")
    if jobs:
        print()
        table(("job", "refused"), [(job_id, why and why_refused(why)) for job_id, why in jobs], empty="")


@commands.command()
def undo(audit_id: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Undo an action. Jobs that have moved on since then stay as they are, and are listed. Exit 6 if nothing could be undone."""
    with database(dsn) as connection:
        row = _get(connection, audit_id)
        if row.undo_until is None:
            raise ActionNotUndoneError(
                f"Action {audit_id} ({row.action}) was not undone.", why=_why_not(row), do=f"pgq audit show {audit_id}"
            )  # fmt: skip
        try:
            done = [one for part in performed(dsn, connection, Undo(audit_id, operator())) for one in part]
        except InvalidOptionError as error:  # somebody else was faster, or its time ended just now
            raise ActionNotUndoneError(
                f"Action {audit_id} was not undone.", why=error.refusal, do=f"pgq audit show {audit_id}"
            ) from error
    items = [{"id": one.job_id, "result": one.result} for one in done]
    if as_json:
        emit({"audit_id": audit_id, "items": items})
    else:
        left = [item for item in items if item["result"] != "undone"]
        if left and left[0]["id"] is not None:
            table(
                ("id", "not undone"),
                [(item["id"], why_refused(str(item["result"]))) for item in left[:20]],
                empty="",
            )
        words = Counter(str(item["result"]) for item in items)
        say("total", ", ".join(f"{number:,} {word}" for word, number in sorted(words.items())))
    if not any(one.result == "undone" for one in done):
        raise ActionNotUndoneError(
            f"Nothing of action {audit_id} was undone: {reasons(Counter(one.result for one in done)) or 'nothing of it is left'}.",
            do=f"pgq audit show {next((one.audit_id for one in done if one.audit_id), audit_id)}",
        )


def _why_not(row: AuditRow) -> str:
    if row.undone_by is not None:
        return f"it was undone already, by action {row.undone_by}"
    if row.changed == 0:
        return "it changed nothing"
    return "its time is over, or an action of this kind cannot be undone"


def _get(connection: Connection, audit_id: int) -> AuditRow:
    found = run(connection, statements.list_audit(audit_id=audit_id))
    if not found:
        raise ActionNotFoundError(f"There is no action {audit_id}.", do="pgq audit list")
    return found[0]
