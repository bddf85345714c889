"""The commands that change jobs: they perform an operation, and print what it did with each job."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, TypeVar

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.reach import PATIENCE
from pgqueue.database.run import connect, run
from pgqueue.database.statements import JobFilter, Who
from pgqueue.database.statements.actions import ABLE, BY_DEFAULT
from pgqueue.database.statements.noting import Source
from pgqueue.errors import InvalidOptionError, InvalidSettingError, JobNotFoundError, JobUnchangedError
from pgqueue.model.job import STATES
from pgqueue.model.refusal import REFUSED, SENTENCES, why_refused
from pgqueue.text.counted import count
from pgqueue.ui.acting import background
from pgqueue.ui.acting.operations import Action, Changed, Operation
from pgqueue.ui.acting.performing import Steps
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, database, dsn_or_running
from pgqueue.ui.cli.filters import filtered
from pgqueue.ui.cli.ids import Ids
from pgqueue.ui.cli.output import console, emit, say
from pgqueue.ui.cli.tables import table

C = TypeVar("C")

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; only show what the command would do.")
]
Forget = Annotated[
    bool,
    typer.Option(
        "--forget", help="Erase the jobs for good: no undo, and nothing of them is kept for earlier undos."
    ),
]
MISSING = "not found"
WOULD = {
    "cancelled": "would cancel", "requested": "would ask it to stop", "revived": "would revive", "edited": "would edit",
    "deleted": "would delete", "due": "would make it due",
}  # fmt: skip
NOTES = {
    "requested": "asked to stop; `pgq jobs wait` waits until a job has stopped",
    "revived": "pending again, due now, with all attempts",
}
VERBS = {
    "retry": "revived",
    "cancel": "cancelled",
    "delete": "deleted",
    "edit": "edited",
    "run_now": "made due",
}


def operator(source: Source = "cli") -> Who:
    """Returns who acts by this command: the user of the operating system, and the host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        name = f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return Who(f"{name}@{socket.gethostname()}"[:60], source)


def add(jobs: typer.Typer) -> None:
    jobs.command("revive")(revive)
    # The web page, the HTTP API and the audit call this action retry.
    jobs.command("retry", help="The same as pgq jobs revive.")(revive)
    for name, command in (("cancel", cancel), ("delete", delete), ("run-now", run_now)):
        jobs.command(name)(command)


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
    change(dsn, action("retry", ids, which, limit), dry_run, as_json)


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
    change(dsn, action("cancel", ids, which, limit), dry_run, as_json)


@filtered()
def delete(
    which: JobFilter,
    ids: Ids = None,
    limit: Limit = 1_000_000,
    forget: Forget = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Delete jobs that do not run, with their arguments, errors, history, steps, signals and keys. `pgq audit undo` brings them back for an hour."""
    change(dsn, replace(action("delete", ids, which, limit), forget=forget), dry_run, as_json)


@filtered()
def run_now(
    which: JobFilter,
    ids: Ids = None,
    limit: Limit = 1_000_000,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Make jobs due now that are scheduled, or wait for their next attempt."""
    change(dsn, action("run_now", ids, which, limit), dry_run, as_json)


def action(
    name: statements.actions.JobAction,
    ids: list[int] | None,
    which: JobFilter,
    limit: int,
    prefix: str = "--",
) -> Action:
    """Makes an action of the ids and the filter of a command. If the filter has no states, the action looks for those that it can change.

    Raises an error if both ids and a filter are given, if neither is given, or if the filter has a state that the action cannot change.
    """
    if ids and which != JobFilter():
        raise InvalidOptionError("Ids and a filter are both given.", do="give only one of the two")
    if not ids and which == JobFilter():
        example = (
            f"; for all dead letters: {prefix}state dead"
            if "dead" in BY_DEFAULT[name]
            else f", such as {prefix}queue mail"
        )
        raise InvalidSettingError("No job is named.", do=f"give ids or a filter{example}")
    if others := [state for state in which.states or () if state not in ABLE[name]]:
        raise InvalidOptionError(
            f"No {others[0]} job can be {VERBS[name]}.", do=f"use {prefix}state " + ",".join(ABLE[name])
        )
    return Action(name=name, who=operator(), ids=ids or None, which=which, limit=limit)


def change(dsn: str | None, wanted: Action, dry_run: bool, as_json: bool) -> None:
    """Performs an action, and prints what it did with each job."""
    with database(dsn) as connection:
        operation = Operation(wanted, dry_run=dry_run)
        done = [one for part in track(performed(dsn, connection, operation), wanted.name) for one in part]
    print_changes(done, wanted.ids, operation.progress.audit_id, dry_run, as_json)


def performed(dsn: str | None, connection: Connection, steps: Steps[C]) -> Iterator[list[C]]:
    """Performs the steps of an action. If they lose the connection, a new one writes into the audit why they stopped."""
    return background.performed(
        connection, lambda: connect(dsn_or_running(dsn), name="pgq", patience=PATIENCE), steps
    )


def print_changes(
    done: list[Changed], ids: Iterable[int] | None, audit_id: int | None, dry_run: bool, as_json: bool
) -> None:
    """Shows the result for each id. Raises JobUnchangedError if a job could not be changed, else JobNotFoundError if an id has no job.

    But if a filter chose the jobs, raises JobUnchangedError only for jobs that the filter still fits: a job that ended after the filter had
    found it needs no change.
    """
    if ids is not None:
        places = {job_id: place for place, job_id in enumerate(dict.fromkeys(ids))}
        done.sort(key=lambda one: places[one.id])
        if len(places) == 1 and done[0].result == MISSING:
            raise JobNotFoundError(done[0].id)
    items = [_item(one, dry_run) for one in done]
    if as_json:
        emit({"items": items, "dry_run": dry_run, "audit_id": audit_id})
    else:
        _show_changes(items, audit_id if any(one.can_be_undone for one in done) else None)
    _raise_for(done, ids is not None, "cannot" if dry_run else "could not")


def _item(one: Changed, dry_run: bool) -> dict[str, object]:
    result = WOULD[one.result] if dry_run and one.is_done else one.result
    return {"id": one.id, "task": one.task, "state": one.state, "result": result}


def _raise_for(done: list[Changed], by_id: bool, could_not: str) -> None:
    unchanged = [one for one in done if not one.is_done]
    if not by_id:
        unchanged = [one for one in unchanged if _word(one.result) not in (*STATES, MISSING)]
    missing = [one for one in unchanged if one.result == MISSING]
    if missing and len(missing) == len(unchanged):
        raise JobNotFoundError(missing[0].id)
    if unchanged:
        first = next(one for one in unchanged if one.result != MISSING)
        raise JobUnchangedError(
            f"{len(unchanged)} of {count(len(done), 'job')} {could_not} be changed: job {first.id}, {why_refused(first.result)}.",
            do=f"pgq jobs show {first.id}",
        )


def _word(result: object) -> str:
    """Returns the result of a change without the reason of a refusal."""
    return str(result).partition(":")[0]


def _show_changes(done: list[dict[str, object]], undoable: int | None) -> None:
    if len(done) <= 20:
        table(
            ("id", tables.name("task"), "was", "result"), [list(item.values()) for item in done], empty="No job matches."
        )  # fmt: skip
    if not done:
        return
    results = Counter(_word(item["result"]) for item in done)
    say("total", ", ".join(f"{number:,} {word}" for word, number in sorted(results.items())))
    for word in sorted(results.keys() & NOTES.keys()):
        say(word, f"{count(results[word], 'job')} {NOTES[word]}")
    for word in sorted(results.keys() & SENTENCES.keys() - {REFUSED}):
        say(word, f"{count(results[word], 'job')} not changed: {why_refused(word)}")
    if undoable is not None:
        say("undo", f"pgq audit undo {undoable}")


def track(parts: Iterable[list[Changed]], verb: str) -> Iterable[list[Changed]]:
    """Yields the parts. If stderr is a terminal, shows there how many jobs are done, from the second part on."""
    if not sys.stderr.isatty():
        yield from parts
        return
    seen = 0
    with console(stderr=True).status(verb) as status:
        for part in parts:
            seen += len(part)
            status.update(f"{verb}: {seen:,}")
            yield part


def tasks_of(connection: Connection, wanted: Action) -> dict[str, Action]:
    """Splits an action by the tasks of its jobs, and returns the part of each task."""
    found: dict[str, Action] = {}
    if wanted.ids is not None:
        chosen = run(connection, statements.choose_by_id(wanted.ids))
        for task in {job.task for job in chosen}:
            found[task] = replace(wanted, ids=[job.id for job in chosen if job.task == task])
        return found
    for row in run(connection, statements.count_jobs(wanted.filter(), ["task"])):
        if row.task is not None:
            found[row.task] = replace(wanted, which=replace(wanted.filter(), task=row.task))
    return found
