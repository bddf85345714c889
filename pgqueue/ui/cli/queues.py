"""``pgq queues``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import QueueInUseError, QueueNotFoundError
from pgqueue.model.names import check_name
from pgqueue.text.counted import count
from pgqueue.text.nearest import guess
from pgqueue.text.times import span
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import DryRun, Forget, Limit, action, change, operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import as_dict, emit, emit_items, say, tell
from pgqueue.ui.cli.tables import table
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
def show(queue: QueueName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Show one queue with its numbers of jobs, and the limits that hold for it alone."""
    check_name("queue", queue)
    with database(dsn) as connection:
        found = run(connection, statements.list_queues())
        depth = next((one for one in found if one.queue == queue), None)
        if depth is None:
            raise _not_found(queue, [one.queue for one in found])
        limits = [one for one in run(connection, statements.list_limits()) if one.queue == queue]
    if as_json:
        emit({**as_dict(depth), "limits": [as_dict(one) for one in limits]})
        return
    for name, value in as_dict(depth).items():
        if value is not None:
            tell(span(depth.oldest_due) if name == "oldest_due" else value, f"{name:<11} ")
    for one in limits:
        tell(f"{one.id}: pgq limits list", "limit       ")


@commands.command()
def move(
    queue: QueueName,
    to: Annotated[str, typer.Argument(help="The queue to which the jobs move.", show_default=False)],
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Move the jobs of a queue that do not run to another queue. `pgq audit undo` moves them back for an hour."""
    check_name("queue", to)
    wanted = action("edit", None, JobFilter(queue=check_name("queue", queue)), limit)
    change(dsn, replace(wanted, changes={"queue": to}), dry_run, as_json)


@commands.command()
def purge(
    queue: QueueName,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Jobs in this state; default: pending, retrying and waiting.", show_default=False),
    ] = None,
    limit: Limit = 1_000_000,
    forget: Forget = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Delete the jobs of a queue that wait. `pgq audit undo` brings them back for an hour, unless --forget is given."""
    states = [word for item in state or ("pending,retrying,waiting",) for word in item.split(",")]
    wanted = action("delete", None, JobFilter(queue=check_name("queue", queue), states=states), limit)
    change(dsn, replace(wanted, forget=forget), dry_run, as_json)


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
