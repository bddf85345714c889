"""``pgq adopt``: takes over the waiting jobs of a queue system that lives in the same Postgres, and gives them back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.adopting import SYSTEMS
from pgqueue.errors import InvalidOptionError
from pgqueue.model.names import check_free, check_name
from pgqueue.text.counted import count
from pgqueue.text.values import shown
from pgqueue.ui.acting.adopting import Adopted, Adoption, find_table
from pgqueue.ui.cli.changes import DryRun, operator
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, database, named_app
from pgqueue.ui.cli.output import emit, say
from pgqueue.ui.cli.tables import table

SHOWN = 20  # so many jobs that were left are listed
PAUSE = 1.0  # seconds between two looks of --follow


class SystemName(StrEnum):
    procrastinate = "procrastinate"
    pgqueuer = "pgqueuer"


def add(cli: typer.Typer) -> None:
    cli.command("adopt")(command)


def command(
    system: Annotated[SystemName, typer.Argument(metavar="SYSTEM", help="procrastinate or pgqueuer.")],
    undo: Annotated[
        bool, typer.Option("--undo", help="Give back adopted jobs that have not started.")
    ] = False,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="The task of pgqueue for a task of the other system. Default: the same name.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="Only jobs of this task of the other system; can be repeated.",
            show_default=False,
        ),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Store all jobs in this queue.", show_default=False)
    ] = None,
    payload_as: Annotated[
        str | None,
        typer.Option(
            "--payload-as",
            metavar="NAME",
            help="pgqueuer: pass the text of each payload as this argument.",
            show_default=False,
        ),
    ] = None,
    allow_unknown: Annotated[
        bool,
        typer.Option(
            "--allow-unknown", help="Also move jobs of tasks that neither the app nor a worker knows."
        ),
    ] = False,
    their_table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="SCHEMA.NAME", help="The table of the other system.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on every second, until Ctrl-C or SIGTERM.")
    ] = False,
    dry_run: DryRun = False,
    app: AppPath = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Move the waiting jobs of another queue system in this database to pgqueue, while both run."""
    if follow and dry_run:
        raise InvalidOptionError("--follow and --dry-run exclude each other.", do="leave one of them out")
    other = SYSTEMS[system.value]
    names = dict(_pair(one) for one in mapped or ())
    with database(dsn) as connection:
        adoption = Adoption(
            other, find_table(connection, other, their_table), operator(), names, tasks,
            None if queue is None else check_name("queue", queue), payload_as, dry_run,
        )  # fmt: skip
        if not undo and not allow_unknown:
            _check_known(connection, adoption, app)
        move = adoption.give_back if undo else adoption.move
        adopted = _followed(connection, move) if follow else _all(connection, move)
    _print(adopted, adoption, undo, as_json)


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign):
        raise InvalidOptionError(f"{shown(text)} is not OLD=NEW.", do="--map app.tasks.send=mail.send")
    return old, check_free(new)


def _check_known(connection: Connection, adoption: Adoption, app: str | None) -> None:
    """Raises InvalidOptionError if there are waiting jobs of a task that no worker would run."""
    known = {one.name for one in run(connection, statements.list_tasks())}
    if (path := named_app(app)) is not None:
        from pgqueue.app.loading import load_app

        known |= load_app(path).tasks.keys()
    waiting = adoption.waiting(connection)
    unknown = {task: number for task, number in waiting.items() if adoption.name(task) not in known}
    if unknown:
        listed = ", ".join(
            f"{shown(task)} ({count(number, 'job')})" for task, number in list(unknown.items())[:SHOWN]
        )
        raise InvalidOptionError(
            f"pgqueue does not know {count(len(unknown), 'task')} of the waiting jobs.",
            why=f"neither the app nor a worker has declared {listed}",
            do="name the app with -A, or another name with --map OLD=NEW, or choose tasks with --task, or --allow-unknown",
        )


def _all(
    connection: Connection, move: Callable[[Connection, int], Adopted | None], stopped: Sequence[int] = ()
) -> Adopted:
    """Moves batch after batch, until no job is left that was not looked at, or until it is to stop."""
    whole = Adopted()
    while not stopped and (batch := move(connection, whole.last)) is not None:
        whole.add(batch)
        whole.last = batch.last
    return whole


def _followed(connection: Connection, move: Callable[[Connection, int], Adopted | None]) -> Adopted:
    """Looks again and again. Of the jobs that are left, the result has those of the last look. A signal lets the batch end."""
    whole = Adopted()
    stopped: list[int] = []  # the signals that have come; a handler must not take the lock of an Event
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda came, _: stopped.append(came))
    while not stopped:
        found = _all(connection, move, stopped)
        whole.moved.update(found.moved)
        whole.left = found.left
        if found.moved:
            say("moved", count(found.moved.total(), "job"))
        time.sleep(PAUSE)
    return whole


def _print(adopted: Adopted, adoption: Adoption, undo: bool, as_json: bool) -> None:
    if as_json:
        left = [one._asdict() for one in adopted.left]
        emit({"moved": dict(adopted.moved), "left": left, "dry_run": adoption.dry, "undo": undo})
        return
    where = f"to {adoption.system.name}" if undo else f"from {adoption.system.name}"
    table(["TASK", "JOBS"], sorted(adopted.moved.items()), empty="no job was moved")
    say("would move" if adoption.dry else "moved", f"{count(adopted.moved.total(), 'job')} {where}")
    for reason, number in adopted.reasons().most_common():
        say("left", f"{count(number, 'job')}: {reason}")
    for one in adopted.left[:SHOWN]:
        say("job", f"{one.id} of {one.task}: {one.reason}")
