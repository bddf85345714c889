"""``pgq jobs edit``. An option such as --queue sets a new value, and an option such as --where-queue chooses the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError, JobNotFoundError, JobUnchangedError
from pgqueue.model.job import FINAL, STATES
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, app_with_database, database, dsn_or_running, named_app
from pgqueue.ui.cli.enqueue import bound, json_object, moment
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.ids import Ids
from pgqueue.ui.cli.jobs import MISSING, DryRun, Limit, changed_jobs, chosen_jobs, print_changes, targets

if TYPE_CHECKING:
    from pgqueue.app.app import App

NONE = "none"
CAN = tuple(state for state in STATES if state not in (*FINAL, "running"))


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
    from pgqueue.app.app import App

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
    chosen = chosen_jobs("edited", CAN, ids, which, list(CAN), "--where-")
    path = named_app(app) if args is not None else None
    with database(dsn) as connection:  # raises a clear error if the schema is missing
        loaded = app_with_database(path, dsn) if path else App(dsn_or_running(dsn))
        try:
            done = changed_jobs(
                targets(connection, ids, chosen, limit),
                "edit",
                lambda job: _edited(connection, loaded, job.id, changes, dry_run),
            )
        finally:
            loaded.close()
    print_changes(done, bool(ids), dry_run, as_json)


def _edited(connection: Connection, app: App, job_id: int, changes: dict[str, object], dry_run: bool) -> str:
    with connection.transaction(force_rollback=dry_run):
        try:
            app.handle(job_id).edit(connection, **changes)
        except JobUnchangedError:
            job = run(connection, statements.get_job(job_id))
            return job.state if job else MISSING
        except JobNotFoundError:
            return MISSING
    return "would edit" if dry_run else "edited"
