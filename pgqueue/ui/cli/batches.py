"""``pgq batches``: list, show, cancel, retry and seal batches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.flows import drive
from pgqueue.database.run import run
from pgqueue.database.statements.batches import BATCH_STATES, BatchProgress
from pgqueue.errors import BatchNotFoundError, InvalidOptionError
from pgqueue.text.counted import count
from pgqueue.text.nearest import rather
from pgqueue.text.times import ago
from pgqueue.ui.acting.settings import retried
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import as_dict, emit, emit_items, say, tell
from pgqueue.ui.cli.pages import PageSize, before_option, page
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See and change batches.", no_args_is_help=True)

NOTES = {
    "cancelled": "nothing of it is unfinished",
    "requested": "its unfinished jobs are cancelled by the leader or asked to stop",
    "ended": "it had ended before",
}


@commands.command("list")
def list_batches(
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help=f"Any of {', '.join(BATCH_STATES)}.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", show_default=False)] = None,
    limit: PageSize = 50,
    before: Annotated[int | None, before_option("batches")] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List batches, the newest first."""
    if state is not None and state not in BATCH_STATES:
        raise InvalidOptionError(f"--state is {state!r:.80}.", do=rather(state, BATCH_STATES))
    most, below = page(limit, before)
    with database(dsn) as connection:
        found = run(connection, statements.list_batches(name=name, state=state, before=below, count=most))
    if as_json:
        emit_items(found, found[-1].id if len(found) == limit else None)
        return
    table(
        ("id", "state", tables.name("name"), tables.name("key"), "jobs", "done", "failed", "created", "ended"),
        [(b.id, b.state, b.name, b.key, b.jobs, _percent(b), b.failed, ago(b.created_at), ago(b.ended_at)) for b in found],
        empty="No batch matches.",
    )  # fmt: skip


@commands.command()
def show(batch: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Show one batch: how many of its jobs are in which state, and the jobs that followed it."""
    with database(dsn) as connection:
        found = _get(connection, batch)
        by_state = run(connection, statements.count_members(batch))
        follow_ups = run(connection, statements.list_follow_ups(batch))
    if as_json:
        emit(
            {
                **as_dict(found),
                "unfinished_by_state": by_state,
                "follow_ups": [f._asdict() for f in follow_ups],
            }
        )
        return
    for name, value in as_dict(found).items():
        if value is not None:
            shown = f"{ago(value)} ({value:%Y-%m-%d %H:%M:%S})" if isinstance(value, datetime) else value
            tell(shown, f"{name:<12} ")
    for state, jobs in by_state.items():
        tell(jobs, f"  {state:<10} ")
    for follow_up in follow_ups:
        tell(f"job {follow_up.job_id}, {follow_up.state or 'whose row is gone'}", f"{follow_up.name:<12} ")


@commands.command()
def cancel(batch: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Cancel a batch. Its jobs that do not run end; running jobs are asked to stop. No job follows."""
    with database(dsn) as connection:
        _get(connection, batch)
        said = str(run(connection, statements.cancel_workflow(batch, who=operator())))
    if as_json:
        emit({"id": batch, "result": said})
    else:
        say(said, f"batch {batch}: {NOTES[said]}")


@commands.command()
def retry(batch: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Run the jobs of a batch again that are dead or cancelled. If all complete then, its on_success follows."""
    with database(dsn) as connection:
        done = drive(connection, retried(batch, operator()))
    if as_json:
        emit({"id": batch, "retried": done.jobs})
    else:
        say("retried", f"{count(done.jobs, 'job')} of batch {batch}")


@commands.command()
def seal(batch: Id, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Seal a batch: only its own jobs can add jobs to it now, and it ends with its last job. Exit 6 if it is sealed already."""
    with database(dsn) as connection:
        said = run(connection, statements.seal_batch(batch, who=operator()))
    if as_json:
        emit({"id": batch, "result": said})
    else:
        say(said, f"batch {batch}" + ("" if said == "sealed" else ": none of its jobs is unfinished"))


def _get(connection: Connection, batch: int) -> BatchProgress:
    found = run(connection, statements.get_batch(batch))
    if found is None:
        raise BatchNotFoundError(batch)
    return found


def _percent(batch: BatchProgress) -> str:
    return f"{100 * (batch.jobs - batch.unfinished) // batch.jobs} %" if batch.jobs else ""
