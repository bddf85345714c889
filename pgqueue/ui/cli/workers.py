"""``pgq workers``."""

from __future__ import annotations

from itertools import repeat
from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit_items
from pgqueue.ui.cli.tables import table
from pgqueue.ui.cli.units import ago

commands = typer.Typer(help="See workers.", no_args_is_help=True)


@commands.command("list")
def list_workers(
    all_: Annotated[bool, typer.Option("--all", help="List workers that have ended, too.")] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List workers and their state."""
    with database(dsn) as connection:
        found = run(connection, statements.list_workers(all_))
    if as_json:
        emit_items(found)
        return
    table(
        (
            "id",
            "state",
            tables.name("host"),
            "pid",
            tables.name("app_version"),
            tables.name("queues"),
            "slots",
            "running",
            "heartbeat",
            "started",
        ),
        [
            (
                w.id,
                "blocked" if w.blocked_since else w.state,
                w.host,
                w.pid,
                w.app_version,
                ",".join(map(_served, w.queues, w.queue_slots or repeat(None), w.queue_taken)),
                w.slots,
                w.running,
                ago(w.heartbeat_at),
                ago(w.started_at),
            )
            for w in found
        ],
        empty="No worker runs.",
    )


def _served(queue: str, slots: int | None, taken: int | None) -> str:
    return queue if slots is None else f"{queue}:{slots} ({taken} taken)"
