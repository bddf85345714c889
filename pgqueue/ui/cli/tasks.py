"""``pgq tasks``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.schedules import TaskRow
from pgqueue.model.retry import DEFAULT_MAX_ATTEMPTS
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit_items
from pgqueue.ui.cli.tables import table
from pgqueue.ui.cli.units import ago, exact

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


def _shown(task: TaskRow) -> tuple[object, ...]:
    options = task.options
    timeout = options.get("timeout")
    rules = ", ".join(f"{rule} {value}" for rule, value in options.items() if rule not in SHOWN)
    return (
        task.name, options.get("queue", "default"), options.get("max_attempts", DEFAULT_MAX_ATTEMPTS), options.get("priority") or "",
        "" if timeout is None else exact(timeout), "" if task.keep == "all" else task.keep, rules,
        ", ".join(map(".".join, task.redact.args)), task.app, task.workers, ago(task.seen_at),
    )  # fmt: skip
