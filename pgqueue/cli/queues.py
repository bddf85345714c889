"""``pgq queues`` and ``pgq workers``."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from pgqueue import statements
from pgqueue.cli import tables
from pgqueue.cli.common import AsJson, Dsn, database
from pgqueue.cli.output import emit, emit_items, say
from pgqueue.cli.tables import table
from pgqueue.cli.units import ago, span
from pgqueue.config import check_name
from pgqueue.database import run
from pgqueue.errors import QueueNotFoundError

commands = typer.Typer(help="See, pause and resume queues.", no_args_is_help=True)
workers = typer.Typer(help="See workers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The queue's name.")]


@commands.command("list")
def list_queues(as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List queues with what is in them and who serves them."""
    with database(dsn) as connection:
        found = run(connection, statements.list_queues())
    if as_json:
        emit_items(found)
        return
    table(
        (
            tables.name("queue"),
            "paused",
            "due",
            "scheduled",
            "waiting",
            "running",
            "dead",
            "workers",
            "oldest_due",
        ),
        [
            (
                q.queue,
                "paused" if q.paused else "",
                q.due,
                q.scheduled,
                q.waiting,
                q.running,
                q.dead,
                q.workers,
                span(q.oldest_due),
            )
            for q in found
        ],
        empty="There is no queue yet.",
    )


@commands.command()
def pause(queue: Name, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let no worker claim from a queue; what runs is finished."""
    _pause(queue, True, as_json, dsn)


@commands.command()
def resume(queue: Name, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let workers claim from a queue again."""
    _pause(queue, False, as_json, dsn)


def _pause(queue: str, paused: bool, as_json: bool, dsn: str | None) -> None:
    check_name("queue", queue)
    with database(dsn) as connection:
        if not run(connection, statements.pause_queue(queue, paused)):
            names = [depth.queue for depth in run(connection, statements.list_queues())]
            near = difflib.get_close_matches(queue, names, n=1, cutoff=0.5)
            raise QueueNotFoundError(
                f"There is no queue {queue!r}.",
                do=f"did you mean {near[0]}?" if near else "known: " + ", ".join(names),
            )
    if as_json:
        emit({"queue": queue, "paused": paused})
    else:
        say("paused" if paused else "resumed", queue)


@workers.command("list")
def list_workers(
    all_: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List workers and how they are."""
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
            tables.name("queues"),
            "slots",
            "running",
            "heartbeat",
            "started",
        ),
        [
            (
                w.id,
                w.state,
                w.host,
                w.pid,
                ",".join(w.queues),
                w.slots,
                w.running,
                ago(w.heartbeat_at),
                ago(w.started_at),
            )
            for w in found
        ],
        empty="No worker runs.",
    )
