"""``pgq tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.schedules import TaskRow
from pgqueue.errors import InvalidArgumentsError, UnknownTaskError
from pgqueue.model.retry import DEFAULT_MAX_ATTEMPTS
from pgqueue.text.nearest import guess
from pgqueue.text.times import ago, exact
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, app_path, database
from pgqueue.ui.cli.output import as_dict, emit, emit_items, shown_json, tell
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See what workers have declared about their tasks.", no_args_is_help=True)

SHOWN = ("queue", "max_attempts", "priority", "timeout")


@commands.command("list")
def list_tasks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List tasks with their declared options. A job that is enqueued by SQL gets these options, unless the caller gives other values."""
    with database(dsn) as connection:
        found = run(connection, statements.list_tasks(name))
    if as_json:
        emit_items(found)
        return
    table(
        (tables.name("task"), tables.name("queue"), "attempts", "priority", "timeout", "keep", tables.name("rules"), tables.name("redacted"), tables.name("app"), "workers",
         "reported"),
        [_shown(task) for task in found],
        empty="No worker has declared a task yet.",
    )  # fmt: skip


@commands.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show one task as workers have declared it."""
    with database(dsn) as connection:
        found = run(connection, statements.list_tasks(name))
        if not found:
            known = [task.name for task in run(connection, statements.list_tasks(None))]
            raise UnknownTaskError(
                f"No worker has declared a task {name!r:.130}.", do=guess(name, known, "pgq tasks list")
            )
    if as_json:
        emit(found[0])
        return
    for label, value in as_dict(found[0]).items():
        tell(shown_json(value) if isinstance(value, dict) else value, f"{label:<9} ")


@commands.command()
def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)], app: AppPath = None
) -> None:
    """Print the JSON Schema of a task's arguments, from its signature in the app (-A)."""
    from pydantic import PydanticUserError

    from pgqueue.app.loading import load_app

    loaded = load_app(app_path(app))
    task = loaded.tasks.get(name)
    if task is None:
        raise UnknownTaskError(
            f"The app has no task {name!r:.130}.", do=guess(name, loaded.tasks, "known: " + ", ".join(loaded.tasks))
        )  # fmt: skip
    try:
        shape = task.spec.adapter.json_schema()
    except PydanticUserError as error:
        raise InvalidArgumentsError(
            f"An argument of task {name} has a type without a JSON Schema.",
            why=error.message,
            do="give the type a __get_pydantic_json_schema__",
        ) from None
    emit({**shape, "title": name})


def _shown(task: TaskRow) -> tuple[object, ...]:
    options = task.options
    timeout = options.get("timeout")
    rules = ", ".join(f"{rule} {value}" for rule, value in options.items() if rule not in SHOWN)
    return (
        task.name, options.get("queue", "default"), options.get("max_attempts", DEFAULT_MAX_ATTEMPTS), options.get("priority") or "",
        "" if timeout is None else exact(timeout), "" if task.keep == "all" else task.keep, rules,
        ", ".join(map(".".join, task.redact.args)), task.app, task.workers, ago(task.seen_at),
    )  # fmt: skip
