"""``pgq jobs export`` and ``pgq jobs import``: carry jobs into another database, such as a failed case into development."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError
from pgqueue.model.job import Job
from pgqueue.model.names import check_name
from pgqueue.model.new_job import Batch
from pgqueue.text.counted import count
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.output import as_dict, emit, say, shown_json

AT_ONCE = 500
# The fields of a line that an import uses. The others, such as id, state and last_error, are for people.
OPTIONS = (
    "queue", "priority", "run_at", "max_attempts", "timeout", "tags", "meta", "unique_key", "concurrency_key",
)  # fmt: skip
SHOWN = ("id", "state", "attempt", "last_error")


def add(jobs: typer.Typer) -> None:
    jobs.command("export")(export)
    jobs.command("import")(import_jobs)


@filtered()
def export(
    which: JobFilter,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1)] = 1000,
    reveal: Reveal = False,
    dsn: Dsn = None,
) -> None:
    """Print jobs as lines of JSON, the newest first. Only with --reveal, a line has the arguments and the meta, which an import needs."""
    with database(dsn) as connection:
        for job in _jobs(connection, which, limit, reveal):
            print(shown_json(_line(job, reveal)))


def _jobs(connection: Connection, which: JobFilter, limit: int, reveal: bool) -> Iterator[Job]:
    before: int | None = None
    while limit > 0:
        size = min(limit, AT_ONCE)
        found = run(connection, statements.list_jobs(which, before=before, count=size, reveal=reveal))
        yield from found
        if len(found) < size:
            return
        before = found[-1].id
        limit -= size


def _line(job: Job, reveal: bool) -> dict[str, Any]:
    row = as_dict(job)
    line = {name: row[name] for name in ("task", *SHOWN, *OPTIONS) if row[name] not in (None, (), {})}
    if job.run_at <= datetime.now(UTC):
        line.pop("run_at", None)
    if not reveal:
        return {name: value for name, value in line.items() if name not in ("meta", "unique_key")}
    return {**line, "args": job.args}


def import_jobs(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Lines that `pgq jobs export` has printed; - reads stdin.")
    ],
    queue: Annotated[
        str | None, typer.Option(help="Store all jobs in this queue.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Enqueue the jobs of an export as new jobs. Changes no job: if an unfinished job has the unique key of a line, the line is left out."""
    jobs = [_job(number, text, queue) for number, text in _lines(file)]
    stored = skipped = 0
    with database(dsn) as connection:
        for start in range(0, len(jobs), AT_ONCE):
            with connection.transaction():
                found = run(connection, statements.enqueue_many(jobs[start : start + AT_ONCE]))
                ids = [one.id for one in found if one.created]
                run(connection, statements.note_import(ids, len(found), operator()))
            stored += len(ids)
            skipped += len(found) - len(ids)
    if as_json:
        emit({"stored": stored, "left_out": skipped})
    else:
        say("stored", count(stored, "job"))
        if skipped:
            say("left out", f"{count(skipped, 'job')}: an unfinished job has the same unique key")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptionError(
            f"{file} cannot be read: {error}.", do="name a file of `pgq jobs export`"
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line


def _job(number: int, text: str, queue: str | None) -> Batch:
    """Reads one line. Raises InvalidOptionError if it is no job, or has no arguments."""
    from pgqueue.model.payload import ARGS_LIMIT, check_text

    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("task"), str):
        raise InvalidOptionError(
            f"Line {number} is not a job.", do="give a file of `pgq jobs export --reveal`"
        )
    if not isinstance(line.get("args"), dict):
        raise InvalidOptionError(f"Line {number} has no arguments.", do="export with --reveal")
    options = {name: line[name] for name in OPTIONS if line.get(name) is not None}
    if queue is not None:
        options["queue"] = check_name("queue", queue)
    args = check_text(json.dumps(line["args"]).encode(), f"args of line {number}", ARGS_LIMIT)
    return Batch(check_name("task", line["task"]), [args], options)
