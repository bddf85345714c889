"""``pgq workers``."""

from __future__ import annotations

import time
from itertools import repeat
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.requests import Asked, WorkerRequest
from pgqueue.errors import InvalidSettingError, WaitTimeoutError, WorkerNotFoundError
from pgqueue.runtime.clock import monotonic
from pgqueue.text.times import ago
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.ids import LARGEST_ID
from pgqueue.ui.cli.output import as_dict, emit, emit_items, say, tell
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See workers, look into them, and stop them.", no_args_is_help=True)

WorkerIds = Annotated[
    list[int] | None,
    typer.Argument(help="Ids of workers, as `pgq workers list` shows them.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All living workers.")]


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


@commands.command("show")
def show(
    worker_id: Annotated[int, typer.Argument(metavar="ID")], as_json: AsJson = False, dsn: Dsn = None
) -> None:
    """Show a worker, and the jobs that run in it."""
    with database(dsn) as connection:
        found = next(
            (one for one in run(connection, statements.list_workers(True)) if one.id == worker_id), None
        )
        if found is None:
            raise WorkerNotFoundError(worker_id)
        which = statements.JobFilter(states=["running"], worker_id=worker_id)
        jobs = (
            run(connection, statements.list_jobs(which, count=200))
            if as_json
            else [row.job for row in run(connection, statements.list_job_rows(which, count=200))]
        )
    if as_json:
        emit({**as_dict(found), "jobs": [as_dict(job) for job in jobs]})
        return
    for name, value in as_dict(found).items():
        tell(
            ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value,
            f"{name:<14} ",
        )
    table(
        ("id", tables.name("task"), tables.name("queue"), "attempt", "started"),
        [(job.id, job.task, job.queue, job.attempt, ago(job.started_at)) for job in jobs],
        empty="It runs no job.",
    )


@commands.command("quiet")
def quiet(ids: WorkerIds = None, all_: All = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let workers take no more jobs. They finish what they run, and then wait for a stop."""
    _steer("quiet", ids, all_, "takes no more jobs", as_json=as_json, dsn=dsn)


@commands.command("stop")
def stop(ids: WorkerIds = None, all_: All = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let workers drain and end: they take no more jobs, and jobs get --grace to finish.

    With --processes, the supervisor starts another process in the place of the stopped one. To end all, stop the supervisor by a signal.
    """
    _steer("stop", ids, all_, "drains and ends", as_json=as_json, dsn=dsn)


@commands.command("stacks")
def stacks(
    ids: WorkerIds = None,
    all_: All = False,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=600, help="How long to wait for answers."),
    ] = 15.0,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show what workers do now: the stack of each thread and asyncio task, with its job. Works while a handler blocks the loop."""
    with database(dsn) as connection:
        asked = _ask(connection, "stacks", ids, all_)
        answers = _answers(connection, asked, timeout)
    silent = [one.worker_id for one in asked if one.worker_id not in answers]
    if as_json:
        emit_items([{"worker_id": worker_id, "stacks": text} for worker_id, text in answers.items()])
    for worker_id, text in () if as_json else answers.items():
        tell(text, f"worker {worker_id}  ")
    if silent:
        raise WaitTimeoutError(
            f"Worker {silent[0]} has not answered within {timeout:g} s.",
            why="workers read what they are asked at their heartbeat; one of an older version of pgqueue never answers",
            do=f"wait longer: pgq workers stacks {silent[0]} --timeout 60; or send SIGUSR1 to its process",
        )


def _ask(connection: Connection, request: WorkerRequest, ids: list[int] | None, all_: bool) -> list[Asked]:
    if bool(ids) == all_:
        raise InvalidSettingError(
            "No worker is named." if not ids else "Ids and --all are both given.", do="give ids or --all"
        )
    chosen = None if all_ else [worker_id for worker_id in ids or () if 0 < worker_id <= LARGEST_ID]
    who = None if request == "stacks" else operator()
    asked = run(connection, statements.ask_workers(request, chosen, who=who))
    missing = set(ids or ()) - {one.worker_id for one in asked}
    if missing:
        raise WorkerNotFoundError(min(missing))
    return asked


def _answers(connection: Connection, asked: list[Asked], timeout: float) -> dict[int, str]:
    """Waits until all workers have answered, or the time is over. Returns the answers by the ids of the workers."""
    end = monotonic() + timeout
    while True:
        found = run(connection, statements.read_answers([one.id for one in asked]))
        if len(found) == len(asked) or monotonic() >= end:
            return {one.worker_id: one.answer for one in found}
        time.sleep(0.1)


def _steer(
    request: WorkerRequest, ids: list[int] | None, all_: bool, does: str, *, as_json: bool, dsn: str | None
) -> None:
    with database(dsn) as connection:
        asked = _ask(connection, request, ids, all_)
    if as_json:
        emit_items([{"worker_id": one.worker_id, "asked": request} for one in asked])
        return
    for one in asked:
        say("asked", f"worker {one.worker_id} {does}, at its next heartbeat at the latest")
