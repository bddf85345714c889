"""``pgq jobs edit ID``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgqueue.cli.common import AppPath, AsJson, Dsn, app_with_database, database, dsn_or_running, named_app
from pgqueue.cli.enqueue import bound, json_object, moment
from pgqueue.cli.output import emit, say
from pgqueue.errors import InvalidOptionError, JobNotFoundError

NONE = "none"


def add(jobs: typer.Typer) -> None:
    jobs.command("edit")(edit)


def edit(
    job_id: Annotated[int, typer.Argument(metavar="ID")],
    priority: Annotated[int | None, typer.Option(help="Smaller runs first.", show_default=False)] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--in", metavar="DURATION", help="Not before then: 90s, 5m; 0 for now.", show_default=False
        ),
    ] = None,
    run_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Not before this time, with its zone: 2030-01-01T09:00+01:00.",
            show_default=False,
        ),
    ] = None,
    args: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="All arguments as one JSON object; - reads stdin.", show_default=False
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Another queue.", show_default=False)] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Attempts before it is dead.", show_default=False)
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Of one attempt; none for no limit.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION|TIME",
            help="Cancelled unless it has started by then, or none.",
            show_default=False,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION|TIME", help="Dead unless it has ended by then, or none.", show_default=False
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="All its tags; may be repeated.", show_default=False)
    ] = None,
    meta: Annotated[
        str | None, typer.Option(metavar="JSON", help="All its meta as one JSON object.", show_default=False)
    ] = None,
    app: AppPath = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Change a job that does not run. Exit 6 if it runs or has ended. --args are checked if the app is known (-A)."""
    from pgqueue.app import App

    given: dict[str, Any] = {
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
    if not 1 <= job_id < 2**63:
        raise JobNotFoundError(job_id)
    with database(dsn):
        pass  # a clear error if the schema is not there
    path = named_app(app) if args is not None else None
    loaded = app_with_database(path, dsn) if path else App(dsn_or_running(dsn))
    try:
        loaded.handle(job_id).edit(**changes)
    finally:
        loaded.close()
    if as_json:
        emit({"id": job_id, "result": "edited"})
    else:
        say("edited", f"job {job_id}")
