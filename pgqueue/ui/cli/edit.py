"""``pgq jobs edit``. An option such as --queue sets a new value, and an option such as --where-queue chooses the jobs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError
from pgqueue.ui.acting.operations import Action, Changed, Operation
from pgqueue.ui.cli.changes import MISSING, DryRun, Limit, action, change, performed, print_changes, tasks_of
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, app_with_database, database, named_app
from pgqueue.ui.cli.enqueue import bound, json_object, moment
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.ids import Ids

if TYPE_CHECKING:
    from pgqueue.app.app import App

NONE = "none"


def add(jobs: typer.Typer) -> None:
    jobs.command("edit")(edit)


@filtered("where-")
def edit(
    which: JobFilter,
    ids: Ids = None,
    priority: Annotated[
        int | None, typer.Option(help="Smaller numbers run first.", show_default=False)
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="DURATION",
            help="The earliest start, counted from now: 90s, 5m; 0 for now.",
            show_default=False,
        ),
    ] = None,
    run_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The earliest start, with its zone: 2030-01-01T09:00+01:00.",
            show_default=False,
        ),
    ] = None,
    args: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="All arguments as one JSON object; - reads stdin.", show_default=False
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option(help="The new queue.", show_default=False)] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Attempts before the job is dead.", show_default=False)
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="The longest time of one attempt; none: no limit.", show_default=False
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION|TIME",
            help="Cancel the job if it has not started by then; none: never.",
            show_default=False,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION|TIME",
            help="Make the job dead if it has not ended by then; none: never.",
            show_default=False,
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            help="A new tag. Repeat the option for several tags. They replace all former tags.",
            show_default=False,
        ),
    ] = None,
    meta: Annotated[
        str | None, typer.Option(metavar="JSON", help="The meta as one JSON object.", show_default=False)
    ] = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    app: AppPath = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Change jobs that do not run. Exit 6 if the id of a running or finished job is given. If the app is known (-A), --args are checked."""
    from pgqueue.model import options  # which imports pydantic

    given: dict[str, object] = {
        "priority": priority, "delay": delay, "run_at": moment("--run-at", run_at),
        "args": json_object("--args", args), "queue": queue, "max_attempts": max_attempts, "tags": tag,
        "meta": json_object("--meta", meta),
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    for name, text in (("timeout", timeout), ("expires", expires), ("deadline", deadline)):
        if text is not None:
            changes[name] = None if text == NONE else text if name == "timeout" else bound(f"--{name}", text)
    if not changes:
        raise InvalidOptionError("The edit changes nothing.", do="give a change, such as --priority -5")
    wanted = replace(action("edit", ids, which, limit, "--where-"), changes=options.changes(changes))
    path = named_app(app) if args is not None else None
    if path is None:
        change(dsn, wanted, dry_run, as_json)
        return
    with database(dsn) as connection:  # raises a clear error if the schema is missing
        loaded = app_with_database(path, dsn)
        try:
            parts = _with_checked_args(loaded, tasks_of(connection, wanted), changes["args"])
        finally:
            loaded.close()
        operations = [Operation(part, dry_run=dry_run) for part in parts]
        done = [one for each in operations for part in performed(dsn, connection, each) for one in part]
    done += [
        Changed(job_id, None, None, MISSING)
        for job_id in dict.fromkeys(ids or ())
        if job_id not in {one.id for one in done}
    ]
    audit_id = next((each.progress.audit_id for each in operations if each.progress.audit_id), None)
    print_changes(done, ids or None, audit_id, dry_run, as_json)


def _with_checked_args(app: App, parts: dict[str, Action], args: Any) -> list[Action]:
    """Returns the parts of an edit, with the arguments as the signature of each task takes them."""
    found = []
    for task, part in parts.items():
        spec = app.tasks.get(task)
        checked = args if spec is None else json.loads(spec.spec.encode((), args))
        found.append(replace(part, changes={**(part.changes or {}), "args": checked}))
    return found
