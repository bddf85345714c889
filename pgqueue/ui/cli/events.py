"""``pgq events tail``: follow what happens to jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import psycopg
import typer

from pgqueue.database.flows import drive
from pgqueue.database.outage import is_lost
from pgqueue.database.statements.jobs import JobEvent
from pgqueue.errors import InvalidOptionError, PgQueueError
from pgqueue.model.units import seconds
from pgqueue.runtime.clock import monotonic
from pgqueue.text.nearest import rather
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit, say, tell
from pgqueue.ui.reading.events import MEANT, TYPES, Tail

commands = typer.Typer(help="Follow what happens to jobs.", no_args_is_help=True)

EVERY = 1.0  # seconds between two looks


@commands.command()
def tail(
    queue: Annotated[str | None, typer.Option(help="Only jobs of this queue.", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(help="Only jobs of this task.", show_default=False)] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="Only this reason or new state, such as dead, failed or completed; can be repeated.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="DURATION", help="Start with events up to DURATION old, such as 10m."
        ),
    ] = "0",
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", metavar="N", min=1, help="Stop after N events.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Print each event of jobs as a line, as it happens: enqueued, completed, failed, dead and others. Ends with Ctrl-C, or after --limit."""
    tail = Tail(queue, task, _types(type_), seconds(since, "--since"))
    left = limit
    for event in followed(tail, dsn):
        _print(event, as_json)
        if left is not None:
            left -= 1
            if not left:
                return


def _types(given: list[str] | None) -> list[str] | None:
    chosen = [word for item in given or () for word in item.split(",")]
    for word in chosen:
        if word not in TYPES:
            raise InvalidOptionError(f"--type is {word!r:.80}.", do=rather(word, TYPES, MEANT))
    return chosen or None


def followed(tail: Tail, dsn: str | None) -> Iterator[JobEvent]:
    """Yields events without end. If the server is lost, connects again, and goes on with what has happened meanwhile."""
    was_connected = False
    while True:
        try:
            with database(dsn) as connection:
                if not was_connected:
                    was_connected = True
                while True:
                    began = monotonic()
                    yield from drive(connection, tail.look()).events
                    time.sleep(max(0.0, began + EVERY - monotonic()))
        except (PgQueueError, psycopg.Error) as error:
            if not was_connected or not is_lost(error):
                raise
            say("lost", "the server; trying again")
            time.sleep(EVERY)


def _print(event: JobEvent, as_json: bool) -> None:
    if as_json:
        emit(event)
        return
    where = "" if event.task is None else f"  {event.task} in {event.queue}"
    change = event.to_state if event.from_state is None else f"{event.from_state} -> {event.to_state}"
    attempt = f"  attempt {event.attempt}" if event.attempt else ""
    error = "" if event.error is None else f"  {event.error}"
    tell(f"{event.at:%H:%M:%S}  job {event.job_id}  {event.reason}  ({change}){where}{attempt}{error}")
