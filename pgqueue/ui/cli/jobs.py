"""``pgq jobs``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError, JobNotFoundError
from pgqueue.model.job import FINAL, Job
from pgqueue.text.nearest import rather
from pgqueue.text.shown import block
from pgqueue.text.times import ago, exact, since, span
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.output import as_dict, emit, emit_items, shown_json, tell
from pgqueue.ui.cli.pages import PageSize, before_option, page
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See and change jobs.", no_args_is_help=True)

BY = ("task", "queue", "state", "tag")
DURATIONS = ("timeout",)
MOST_LINES = 10_000  # log lines that `pgq jobs show --logs` shows


@commands.command("list")
@filtered()
def list_jobs(
    which: JobFilter,
    limit: PageSize = 50,
    before: Annotated[int | None, before_option("jobs")] = None,
    reveal: Reveal = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List jobs, the newest first."""
    most, below = page(limit, before)
    with database(dsn) as connection:
        found = (
            run(connection, statements.list_jobs(which, before=below, count=most, reveal=reveal))
            if as_json or reveal
            else [
                row.job for row in run(connection, statements.list_job_rows(which, before=below, count=most))
            ]
        )
    if as_json:
        emit_items(found, found[-1].id if len(found) == limit else None)
        return
    table(
        ("id", "state", tables.name("queue"), tables.name("task"), "attempt", "when", "worker", tables.name("progress"),
         tables.text("last_error")),
        [(j.id, j.state, j.queue, j.task, f"{j.attempt}/{j.max_attempts}", _when(j),
          j.worker_id if j.state == "running" else None, said_of(j.progressed) if j.state not in FINAL else None,
          j.last_error) for j in found],
        empty="No job matches.",
    )  # fmt: skip


def _when(job: Job) -> str:
    """Returns how long a running job has run, how long ago a finished job ended, or when a job in another state is due."""
    began = job.started_at if job.state == "running" else job.finished_at
    if began is not None:
        lasted = span(max(since(began), 0.0))
        return f"for {lasted}" if job.state == "running" else f"{lasted} ago"
    return "" if job.state == "waiting" else f"due {ago(job.run_at)}"


@commands.command("count")
@filtered()
def count_jobs(
    which: JobFilter,
    by: Annotated[
        str, typer.Option(metavar="WORDS", help="Any of task, queue, state, tag, with commas between them.")
    ] = "task,state",
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Count jobs by task, queue, state or tag. A job with two tags counts under both."""
    words = [word.strip() for word in by.split(",")]
    for word in words:
        if word not in BY:
            raise InvalidOptionError(f"--by is {by!r:.80}.", do=rather(word, BY))
    with database(dsn) as connection:
        found = run(connection, statements.count_jobs(which, words))
    items = [{**{word: getattr(row, word) for word in words}, "count": row.count} for row in found]
    if as_json:
        emit_items(items)
        return
    table(
        [word if word == "state" else tables.name(word) for word in words] + ["count"],
        [list(item.values()) for item in items],
        empty="No job matches.",
    )


@commands.command()
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID")],
    logs: Annotated[
        bool, typer.Option("--logs", help="Also show the log lines that its task keeps (keep_logs).")
    ] = False,
    reveal: Reveal = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show one job with its history."""
    with database(dsn) as connection:
        job = _get(connection, job_id, reveal=reveal)
        timeline = run(connection, statements.list_timeline(job_id, reveal=reveal))
        history = run(connection, statements.list_transitions(job_id, reveal=reveal))
        lines = (
            run(connection, statements.list_job_lines(job_id, 0, MOST_LINES, reveal=reveal)) if logs else []
        )
    if as_json:
        emit({**as_dict(job), "transitions": [as_dict(t) for t in history], "timeline": [as_dict(e) for e in timeline]} | ({"lines": [as_dict(line) for line in lines]} if logs else {}))  # fmt: skip
        return
    for name, value in (as_dict(job) | {"progressed": said_of(job.progressed)}).items():
        if value not in (None, (), {}, False) and name != "last_traceback":
            tell(_shown(name, value), f"{name:<16} ")
    print()
    table(
        ("at", "from", "to", "reason", "attempt", tables.name("worker"), tables.text("error")),
        [(e.at and _shown("at", e.at), e.from_state, e.to_state, e.reason, e.attempt or None,
          e.worker_id if e.host is None else f"{e.worker_id} ({e.host}, pid {e.pid})", e.error) for e in timeline],
        empty="",
    )  # fmt: skip
    if logs:
        print()
        table(
            ("at", "attempt", "level", tables.name("logger"), tables.name("text")),
            [(_shown("at", line.at), line.attempt, line.level, line.logger, line.text) for line in lines],
            empty="No log lines are kept of this job.",
        )
    if job.last_traceback:
        print(f"\n{block(job.last_traceback.rstrip())}")


def _shown(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
    if name in DURATIONS and isinstance(value, int | float):
        return exact(value)
    if name == "progressed" or isinstance(value, str):
        return str(value) if name != "result" else shown_json(value)
    return shown_json(value)


def said_of(progress: object) -> str | None:
    """Returns a job's progress as text, such as ``120 of 400, 30 %: resizing``. Leaves out parts that the handler did not report."""
    if not isinstance(progress, dict) or not isinstance(progress.get("done"), int | float):
        return None if progress is None else shown_json(progress)
    done, total = progress["done"], progress.get("total")
    text = f"{done:,}"
    if isinstance(total, int | float):
        text += f" of {total:,}" + (f", {100 * done / total:.0f} %" if total else "")
    if progress.get("message"):
        text += f": {progress['message']}"
    return text


def _get(connection: Connection, job_id: int, *, reveal: bool = False) -> Job:
    job = _find(connection, job_id, reveal=reveal)
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _find(connection: Connection, job_id: int, *, reveal: bool = False) -> Job | None:
    return run(connection, statements.get_job(job_id, reveal=reveal)) if 1 <= job_id < 2**63 else None
