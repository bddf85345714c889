"""``pgq jobs``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal, cast

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError, InvalidSettingError, JobNotFoundError, JobUnchangedError
from pgqueue.model.job import FINAL, STATES, Job
from pgqueue.sql import Statement
from pgqueue.text.counted import count
from pgqueue.text.nearest import rather
from pgqueue.text.shown import block
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.ids import Ids
from pgqueue.ui.cli.output import as_dict, console, emit, emit_items, say, shown_json, tell
from pgqueue.ui.cli.pages import PageSize, before_option, page
from pgqueue.ui.cli.tables import table
from pgqueue.ui.cli.units import ago, exact, since, span

commands = typer.Typer(help="See and change jobs.", no_args_is_help=True)

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; only show what the command would do.")
]

PAGE = 500
BY = ("task", "queue", "state", "tag")
DURATIONS = ("timeout",)
WOULD = {"cancelled": "would cancel", "requested": "would ask it to stop", "revived": "would revive"}
CHANGED = {*WOULD, *WOULD.values(), "edited", "would edit"}
NOTES = {
    "requested": "asked to stop; `pgq jobs wait` waits until a job has stopped",
    "revived": "pending again, due now, with all attempts",
    "unique_key": "not revived, because an unfinished job has the same unique key",
    "not found": "without a row: the transaction was rolled back or has not committed, or the row was deleted",
}
MISSING, REFUSED = "not found", "refused"


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
        found = run(connection, statements.list_jobs(which, before=below, count=most, reveal=reveal))
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
    reveal: Reveal = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show one job with its history."""
    with database(dsn) as connection:
        job = _get(connection, job_id, reveal=reveal)
        timeline = run(connection, statements.list_timeline(job_id))
        history = run(connection, statements.list_transitions(job_id))
    if as_json:
        emit({**as_dict(job), "transitions": [as_dict(t) for t in history], "timeline": [as_dict(e) for e in timeline]})  # fmt: skip
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


@commands.command()
@filtered()
def revive(
    which: JobFilter,
    ids: Ids = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Revive dead jobs: by id, or all that match a filter. To revive cancelled jobs, give their ids or --state cancelled."""
    can = ("dead", "cancelled")
    chosen = chosen_jobs("revived", can, ids, which, ["dead"])
    _change(dsn, "revive", statements.revive, ids, chosen, limit, dry_run, as_json)


@commands.command()
@filtered()
def cancel(
    which: JobFilter,
    ids: Ids = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Cancel jobs that do not run, and ask running jobs to stop. Give ids, or a filter for all jobs that match."""
    can = tuple(state for state in STATES if state not in FINAL)
    chosen = chosen_jobs("cancelled", can, ids, which, list(can))
    _change(dsn, "cancel", statements.cancel, ids, chosen, limit, dry_run, as_json)


def chosen_jobs(
    what: str,
    can: tuple[str, ...],
    ids: list[int] | None,
    which: JobFilter,
    states: list[str],
    prefix: str = "--",
) -> JobFilter:
    """Checks the ids and the filter of a command, and returns the filter. If the filter has no states, it gets ``states``.

    Raises an error if both ids and a filter are given, if neither is given, or if the filter has a state that is not in ``can``.
    """
    if ids:
        if which != JobFilter():
            raise InvalidOptionError("Ids and a filter are both given.", do="give only one of the two")
        return which
    if which == JobFilter():
        example = (
            f"; for all dead letters: {prefix}state dead"
            if "dead" in can
            else f", such as {prefix}queue mail"
        )
        raise InvalidSettingError("No job is named.", do=f"give ids or a filter{example}")
    if which.states is None:
        return replace(which, states=states)
    if others := [state for state in which.states if state not in can]:
        raise InvalidOptionError(
            f"No {others[0]} job can be {what}.", do=f"use {prefix}state " + ",".join(can)
        )
    return which


def _change(
    dsn: str | None,
    verb: Literal["revive", "cancel"],
    make: Callable[[int], Statement[str | None]],
    ids: list[int] | None,
    which: JobFilter,
    limit: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Applies a function of the SQL API to each job, in a short transaction of its own, and shows the result for each job.

    A dry run does the same, but rolls each transaction back. So a dry run shows exactly what the function accepts and what it refuses.
    """
    with database(dsn) as connection:
        keys: set[tuple[str, str]] = set()  # task and unique key of the jobs that a dry run would revive

        def change(job: Job) -> str:
            try:
                outcome = _applied(connection, make(job.id), dry_run)
            except InvalidOptionError as error:  # a rule of its workflow forbids the change
                return f"{REFUSED}: {error.refusal}"
            if dry_run and outcome == "revived" and job.unique_key is not None:
                key = (job.task, job.unique_key)
                outcome = "unique_key" if key in keys else outcome
                keys.add(key)
            return WOULD.get(outcome, outcome) if dry_run and outcome != job.state else outcome

        done = changed_jobs(targets(connection, ids, which, limit), verb, change)
    print_changes(done, bool(ids), dry_run, as_json)


def changed_jobs(
    targets: list[tuple[int, Job | None]], verb: str, change: Callable[[Job], str]
) -> list[dict[str, object]]:
    """Calls ``change`` for each job. Returns one row of the output for each id. If an id has no job, goes on with the next id."""
    return [
        {"id": job_id, "task": None, "state": None, "result": MISSING}
        if job is None
        else {"id": job_id, "task": job.task, "state": job.state, "result": change(job)}
        for job_id, job in track(targets, verb)
    ]


def print_changes(done: list[dict[str, object]], by_id: bool, dry_run: bool, as_json: bool) -> None:
    """Shows the result for each id. Raises JobUnchangedError if a job could not be changed, else JobNotFoundError if an id has no job.

    But if a filter chose the jobs, raises JobUnchangedError only if a job was not revived because an unfinished job has its unique key, or
    because a rule of its workflow forbids that.
    """
    if as_json:
        emit({"items": done, "dry_run": dry_run})
    else:
        _show_changes(done)
    unchanged = [item for item in done if item["result"] not in CHANGED or item["result"] == item["state"]]
    if not by_id:  # a job that ended after the filter had found it needs no change
        unchanged = [item for item in unchanged if _word(item) in ("unique_key", REFUSED)]
    missing = [item for item in unchanged if item["result"] == MISSING]
    if missing and len(missing) == len(unchanged):
        raise JobNotFoundError(cast("int", missing[0]["id"]))
    if unchanged:
        first = next(item for item in unchanged if item["result"] != MISSING)
        why = (
            "an unfinished job has its unique key"
            if first["result"] == "unique_key"
            else str(first["result"]).removeprefix(f"{REFUSED}: ")
            if _word(first) == REFUSED
            else f"it is {first['result']}"
        )
        cannot = "cannot" if dry_run else "could not"
        raise JobUnchangedError(
            f"{len(unchanged)} of {count(len(done), 'job')} {cannot} be changed: job {first['id']}, {why}.",
            do="pgq jobs show " + str(first["id"]),
        )


def _word(item: dict[str, object]) -> str:
    """Returns the result of a change without the reason of a refusal."""
    return str(item["result"]).partition(":")[0]


def _applied(connection: Connection, statement: Statement[str | None], dry_run: bool) -> str:
    if not dry_run:
        return run(connection, statement) or MISSING
    with connection.transaction(force_rollback=True):
        return run(connection, statement) or MISSING


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


def _show_changes(done: list[dict[str, object]]) -> None:
    if len(done) <= 20:
        table(
            ("id", tables.name("task"), "was", "result"), [list(i.values()) for i in done], empty="No job matches."
        )  # fmt: skip
    if done:
        results = Counter(map(_word, done))
        say("total", ", ".join(f"{number:,} {word}" for word, number in sorted(results.items())))
        for word in sorted(results.keys() & NOTES.keys()):
            say(word, f"{count(results[word], 'job')} {NOTES[word]}")


def targets(
    connection: Connection, ids: list[int] | None, which: JobFilter, limit: int
) -> list[tuple[int, Job | None]]:
    """Returns each id with its job, or with None if the id has no job. If there are no ids, returns the jobs that match the filter.

    If there is only one id, and this id has no job, raises JobNotFoundError.
    """
    if not ids:
        return [(job.id, job) for job in matching(connection, which, limit)]
    if len(ids) == 1:
        return [(ids[0], _get(connection, ids[0]))]
    return [(job_id, _find(connection, job_id)) for job_id in dict.fromkeys(ids)]


def matching(connection: Connection, which: JobFilter, limit: int) -> Iterator[Job]:
    before: int | None = None
    while limit > 0:
        page = run(connection, statements.list_jobs(which, before=before, count=min(limit, PAGE)))
        yield from page
        if len(page) < PAGE:
            return
        before = page[-1].id
        limit -= len(page)


def track(jobs: list[tuple[int, Job | None]], verb: str) -> Iterable[tuple[int, Job | None]]:
    """Yields the items of ``jobs``. If there are at least 100 items and stderr is a terminal, shows a progress bar on stderr."""
    if len(jobs) < 100 or not sys.stderr.isatty():
        return jobs
    from rich.progress import track as bar

    return bar(jobs, description=verb, console=console(stderr=True))


def _get(connection: Connection, job_id: int, *, reveal: bool = False) -> Job:
    job = _find(connection, job_id, reveal=reveal)
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _find(connection: Connection, job_id: int, *, reveal: bool = False) -> Job | None:
    return run(connection, statements.get_job(job_id, reveal=reveal)) if 1 <= job_id < 2**63 else None
