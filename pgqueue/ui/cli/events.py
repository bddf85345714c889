"""``pgq events tail``: follow what happens to jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import psycopg
import typer

from pgqueue.database import statements
from pgqueue.database.outage import is_lost
from pgqueue.database.run import run
from pgqueue.database.statements.jobs import JobEvent
from pgqueue.errors import PgQueueError
from pgqueue.model.units import seconds
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit, say, tell

commands = typer.Typer(help="Follow what happens to jobs.", no_args_is_help=True)

EVERY = 1.0  # seconds between two looks
LATE = 10.0  # an event whose transaction commits so many seconds after it happened is still found
MOST = 1000  # events of each kind that one look reads


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
        str, typer.Option("--since", metavar="DURATION", help="Begin with events that are so old: 10m.")
    ] = "0",
    limit: Annotated[
        int | None,
        typer.Option(
            "-n", "--limit", metavar="N", min=1, help="End after so many events.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Print each event of jobs as a line, as it happens: enqueued, completed, failed, dead and others. Ends with Ctrl-C, or after --limit."""
    kinds = [word for item in type_ for word in item.split(",")] if type_ else None
    look = Look(queue, task, kinds, seconds(since, "--since"))
    left = limit
    for event in followed(look, dsn):
        _print(event, as_json)
        if left is not None:
            left -= 1
            if not left:
                return


class Look:
    """What was seen so far, so that each event is printed once. An event can become visible late, so each look goes back LATE seconds."""

    def __init__(self, queue: str | None, task: str | None, kinds: list[str] | None, age: float) -> None:
        self.queue, self.task, self.kinds = queue, task, kinds
        self._age = age
        self._since: float | None = None
        self._until = 0.0
        self._after_id = 0
        self._marks: list[tuple[float, int]] = []
        self._seen: dict[tuple[object, ...], float] = {}

    def once(self, connection: psycopg.Connection) -> list[JobEvent]:
        """Returns the events that were not seen before, the oldest first. Sends three statements."""
        now = run(connection, statements.read_clock())
        last_id, _ = run(connection, statements.compare_ids())
        if self._since is None:
            self._since = now - self._age
            self._after_id = 0 if self._age else last_id
        found = run(
            connection,
            statements.list_events(
                self._since, self._after_id, queue=self.queue, task=self.task, kinds=self.kinds, most=MOST
            ),
        )
        fresh = [event for event in found if _key(event) not in self._seen]
        for event in fresh:
            self._seen[_key(event)] = event.at.timestamp()
        self._marks = [(at, job) for at, job in self._marks if at >= now - LATE] + [(now, last_id)]
        self._since = max(self._since, now - LATE)
        self._after_id = max(self._after_id, self._marks[0][1])
        self._seen = {key: at for key, at in self._seen.items() if at >= self._since - LATE}
        return fresh


def _key(event: JobEvent) -> tuple[object, ...]:
    return event.job_id, event.at, event.reason, event.to_state


def followed(look: Look, dsn: str | None) -> Iterator[JobEvent]:
    """Yields events without end. If the server is lost, connects again, and goes on with what has happened meanwhile."""
    was_connected = False
    while True:
        try:
            with database(dsn) as connection:
                if not was_connected:
                    was_connected = True
                while True:
                    began = monotonic()
                    yield from look.once(connection)
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
