"""``pgq jobs``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from psycopg import Connection

from pgqueue import statements
from pgqueue.cli.common import AsJson, Dsn, database
from pgqueue.cli.output import ago, as_dict, console, emit, emit_items, say, table, tell
from pgqueue.config import check_name
from pgqueue.database import run
from pgqueue.errors import InvalidOptionError, InvalidSettingError, JobNotFoundError, JobUnchangedError
from pgqueue.job import STATES, Job
from pgqueue.shown import block

commands = typer.Typer(help="See and change jobs.", no_args_is_help=True)

States = Annotated[
    list[str] | None,
    typer.Option("--state", help="May be repeated. Also 'failed': retrying and dead.", show_default=False),
]
Queue = Annotated[str | None, typer.Option("--queue", show_default=False)]
TaskName = Annotated[str | None, typer.Option("--task", show_default=False)]
Tag = Annotated[str | None, typer.Option("--tag", show_default=False)]
Error = Annotated[str | None, typer.Option("--error", help="A part of the last error.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000)]
Ids = Annotated[list[int] | None, typer.Argument(min=1, max=2**63 - 1, show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]

PAGE = 500


@commands.command("list")
def list_jobs(
    state: States = None,
    queue: Queue = None,
    task: TaskName = None,
    tag: Tag = None,
    error: Error = None,
    limit: Limit = 50,
    before: Annotated[
        int | None,
        typer.Option(min=1, max=2**63 - 1, help="Only ids below this: the next page.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List jobs, the newest first."""
    with database(dsn) as connection:
        found = run(
            connection,
            statements.list_jobs(
                states=_states(state),
                queue=_queue(queue),
                task=task,
                tag=tag,
                error=error,
                before=before,
                count=limit,
            ),
        )
    if as_json:
        emit_items(found, found[-1].id if len(found) == limit else None)
        return
    table(
        ("id", "state", "queue", "task", "attempt", "due", "last_error"),
        [
            (
                j.id,
                j.state,
                j.queue,
                j.task,
                f"{j.attempt}/{j.max_attempts}",
                ago(j.finished_at or j.run_at),
                j.last_error,
            )
            for j in found
        ],
        empty="No job matches.",
    )


@commands.command()
def show(
    job_id: Annotated[int, typer.Argument(metavar="ID")], as_json: AsJson = False, dsn: Dsn = None
) -> None:
    """Show one job with its history."""
    with database(dsn) as connection:
        job = _get(connection, job_id)
        history = run(connection, statements.list_transitions(job_id))
    if as_json:
        emit({**as_dict(job), "transitions": [as_dict(transition) for transition in history]})
        return
    for name, value in {**as_dict(job), "progressed": said_of(job.progressed)}.items():
        if value not in (None, (), {}, False) and name != "last_traceback":
            tell(
                f"{name:<16} {value.isoformat(sep=' ', timespec='milliseconds') if hasattr(value, 'isoformat') else value}"
            )
    if history:
        print()
        table(
            ("at", "from", "to", "reason", "attempt", "worker", "error"),
            [
                (
                    f"{t.at:%Y-%m-%d %H:%M:%S}",
                    t.from_state,
                    t.to_state,
                    t.reason,
                    t.attempt,
                    t.worker_id,
                    t.error,
                )
                for t in history
            ],
            empty="",
        )
    if job.last_traceback:
        print(f"\n{block(job.last_traceback.rstrip())}")


@commands.command()
def retry(
    ids: Ids = None,
    state: States = None,
    queue: Queue = None,
    task: TaskName = None,
    tag: Tag = None,
    error: Error = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Revive dead (or, by id or --state, cancelled) jobs: those named, or all that match."""
    filters: dict[str, Any] = {"queue": _queue(queue), "task": task, "tag": tag, "error": error}
    chosen = _states(state) or (None if ids else ["dead"])
    if chosen and not set(chosen) <= {"dead", "cancelled"}:
        raise InvalidOptionError(
            f"--state is {', '.join(chosen)}.", do="only dead and cancelled jobs can be revived"
        )
    if not ids and not state and not any(filters.values()):
        raise InvalidSettingError(
            "No job is named.", do="name ids or a filter; for all dead letters: --state dead"
        )
    _change(dsn, "revive", ids, {**filters, "states": chosen}, limit, dry_run, as_json)


@commands.command()
def cancel(
    ids: Ids = None,
    state: States = None,
    queue: Queue = None,
    task: TaskName = None,
    tag: Tag = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Cancel jobs that wait, and ask running ones to stop: those named, or all that match."""
    filters: dict[str, Any] = {"queue": _queue(queue), "task": task, "tag": tag}
    chosen = _states(state) or (None if ids else ["pending", "retrying", "waiting", "running"])
    if not ids and not state and not any(filters.values()):
        raise InvalidSettingError("No job is named.", do="name ids or a filter, such as --queue mail")
    _change(dsn, "cancel", ids, {**filters, "states": chosen}, limit, dry_run, as_json)


def _change(
    dsn: str | None,
    verb: str,
    ids: list[int] | None,
    filters: dict[str, Any],
    limit: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Applies a verb of the SQL API to each job, one short transaction a job; shows what became of it."""
    make = statements.revive if verb == "revive" else statements.cancel
    with database(dsn) as connection:
        targets = list(_named(connection, ids) if ids else _matching(connection, filters, limit))
        done = []
        for job in _progress(targets, verb):
            outcome = f"would {verb}" if dry_run else run(connection, make(job.id)) or "gone"
            done.append({"id": job.id, "task": job.task, "state": job.state, "result": outcome})
    if as_json:
        emit({"items": done, "dry_run": dry_run})
    else:
        _show_changes(done)
    unchanged = [item for item in done if item["result"] in (item["state"], "unique_key", "gone")]
    if ids and unchanged and not dry_run:
        first = unchanged[0]
        why = (
            "an unfinished job has its unique key"
            if first["result"] == "unique_key"
            else f"it is {first['result']}"
        )
        raise JobUnchangedError(
            f"{len(unchanged)} of {len(done)} jobs could not be changed: job {first['id']}, {why}.",
            do="pgq jobs show " + str(first["id"]),
        )


def said_of(progress: Any) -> str | None:
    """``120 of 400, 30 %: resizing``, as far as that was said."""
    if not isinstance(progress, dict) or not isinstance(progress.get("done"), int | float):
        return None if progress is None else str(progress)
    done, total = progress["done"], progress.get("total")
    text = f"{done:,}"
    if isinstance(total, int | float):
        text += f" of {total:,}" + (f", {100 * done / total:.0f} %" if total else "")
    if progress.get("message"):
        text += f": {progress['message']}"
    return text


def _show_changes(done: list[dict[str, Any]]) -> None:
    if len(done) <= 20:
        table(
            ("id", "task", "state", "result"), [list(item.values()) for item in done], empty="No job matches."
        )
    counts = {
        word: sum(item["result"] == word for item in done)
        for word in sorted({str(i["result"]) for i in done})
    }
    if done:
        say("total", ", ".join(f"{count} {word}" for word, count in counts.items()))


def _named(connection: Connection[Any], ids: list[int]) -> Iterator[Job]:
    for job_id in ids:
        yield _get(connection, job_id)


def _matching(connection: Connection[Any], filters: dict[str, Any], limit: int) -> Iterator[Job]:
    before: int | None = None
    while limit > 0:
        page = run(connection, statements.list_jobs(**filters, before=before, count=min(limit, PAGE)))
        yield from page
        if len(page) < PAGE:
            return
        before = page[-1].id
        limit -= len(page)


def _progress(jobs: list[Job], verb: str) -> Iterable[Job]:
    """A progress bar on stderr for work that takes long, on a terminal only."""
    if len(jobs) < 100 or not sys.stderr.isatty():
        return jobs
    from rich.progress import track

    return track(jobs, description=verb, console=console(stderr=True))


def _get(connection: Connection[Any], job_id: int) -> Job:
    if not 1 <= job_id < 2**63:
        raise JobNotFoundError(job_id)
    job = run(connection, statements.get_job(job_id))
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _states(given: list[str] | None) -> list[str] | None:
    if not given:
        return None
    chosen = [word for item in given for word in item.split(",")]
    if "failed" in chosen:
        chosen = [word for word in chosen if word != "failed"] + ["retrying", "dead"]
    for word in chosen:
        if word not in STATES:
            raise InvalidOptionError(f"--state is {word!r}.", do="use " + ", ".join(STATES))
    return chosen


def _queue(name: str | None) -> str | None:
    return None if name is None else check_name("queue", name)
