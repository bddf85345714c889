"""``pgq queues``."""

from __future__ import annotations

from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import QueueInUseError, QueueNotFoundError
from pgqueue.model.names import check_name
from pgqueue.text.counted import count
from pgqueue.text.nearest import guess
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit, emit_items, say
from pgqueue.ui.cli.tables import table
from pgqueue.ui.cli.units import span
from pgqueue.ui.cli.unserved import unserved

commands = typer.Typer(help="See, pause, resume and remove queues.", no_args_is_help=True)

QueueName = Annotated[str, typer.Argument(help="The queue's name.")]


@commands.command("list")
def list_queues(as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List queues with their jobs and the number of workers that serve them."""
    with database(dsn) as connection:
        found = run(connection, statements.list_queues())
        gaps = [] if as_json else run(connection, statements.find_unserved())
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
    for gap in gaps:
        if gap.version is not None:
            what, do = unserved(gap)
            say("note", f"{what} Do: {do}")


@commands.command()
def pause(queue: QueueName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Stop workers from claiming from a queue. Its running jobs go on."""
    check_name("queue", queue)
    with database(dsn) as connection:
        known = _names(connection)
        run(connection, statements.pause_queue(queue, who=operator()))
    if as_json:
        emit({"queue": queue, "paused": True})
        return
    say("paused", queue)
    if queue not in known:
        near = guess(queue, known, "")
        say(
            "note",
            "no job and no worker has used this queue yet"
            + (f"; {near} If so: pgq queues remove {queue}" if near else ""),
        )


@commands.command()
def resume(queue: QueueName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let workers claim from a queue again."""
    check_name("queue", queue)
    with database(dsn) as connection:
        if not run(connection, statements.resume_queue(queue, who=operator())) and queue not in (
            known := _names(connection)
        ):
            raise _not_found(queue, known)
    if as_json:
        emit({"queue": queue, "paused": False})
    else:
        say("resumed", queue)


@commands.command()
def remove(queue: QueueName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Remove a queue that is not needed, such as a mistyped one. Exit 6 if it has unfinished or dead jobs, or if a worker serves it."""
    check_name("queue", queue)
    with database(dsn) as connection:
        kept = run(connection, statements.remove_queue(queue, who=operator()))
        if kept.jobs or kept.workers:
            parts = [
                count(kept.jobs, "unfinished or dead job") if kept.jobs else "",
                count(kept.workers, "living worker") if kept.workers else "",
            ]
            raise QueueInUseError(
                f"Queue {queue} is in use, by {' and '.join(filter(None, parts))}.",
                do=f"pgq jobs list --queue {queue}" if kept.jobs else "stop the workers that name it in -Q",
            )
        if not kept.known:
            raise _not_found(queue, _names(connection))
    if as_json:
        emit({"queue": queue, "removed": True})
    else:
        say("removed", queue)


def _names(connection: Connection) -> list[str]:
    return [depth.queue for depth in run(connection, statements.list_queues())]


def _not_found(queue: str, names: list[str]) -> QueueNotFoundError:
    return QueueNotFoundError(
        f"There is no queue {queue!r}.", do=guess(queue, names, "known: " + ", ".join(names))
    )
