"""``pgq jobs replay ID --dry-run``: calls the handler of a job once more, rolls back what it writes, and shows what it did."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidSettingError, JobNotFoundError
from pgqueue.model.steps import named
from pgqueue.text.counted import count
from pgqueue.text.shown import block, visible
from pgqueue.text.times import exact
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, Reveal, app_path, app_with_database, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import emit, say, shown_json, tell
from pgqueue.ui.cli.tables import table

if TYPE_CHECKING:
    from pgqueue.database.statements.replay import Replayed, Write
    from pgqueue.worker.replay.findings import Findings

VALUE_LIMIT = 100  # a longer value of a shown row is cut; in characters
FAILED, TIMED_OUT, INTERRUPTED = 10, 9, 130  # exit codes


def add(jobs: typer.Typer) -> None:
    jobs.command("replay")(replay)


def replay(
    job_id: Id,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Required: a replay is never committed.")
    ] = False,
    run_steps: Annotated[
        bool,
        typer.Option("--run-steps", help="Also call the functions of steps whose values are not stored."),
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Stop the handler after this time: 90s, 5m. Default: the job's timeout, or 5m.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask first.")] = False,
    reveal: Reveal = False,
    app: AppPath = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Call the handler of a job in this process, roll back what it writes in the database, and show what it did.

    The handler gets the real row of the job and its stored steps, whatever the state of the job is. The replay ends at the first step whose
    value is not stored. It changes nothing about the job, but effects outside the database, such as mails and HTTP calls, are not undone.
    """
    from pgqueue.model.units import seconds
    from pgqueue.worker.replay.masking import masked_findings
    from pgqueue.worker.replay.replay import Replay

    if not dry_run:
        raise InvalidSettingError(
            "A replay is only possible with --dry-run.",
            why="it shows what the handler would do, and commits nothing",
            do=f"pgq jobs replay {job_id} --dry-run; to run the job for real: pgq jobs revive {job_id}",
        )
    limit = None if timeout is None else seconds(timeout, "--timeout")
    loaded = app_with_database(app_path(app), dsn)
    with database(loaded.dsn) as connection:
        job = run(connection, statements.get_replayed(job_id))
        if job is None:
            raise JobNotFoundError(job_id)
        checkpoints = run(connection, statements.load_checkpoints([job_id]))[job_id]
    made = Replay(loaded, job, checkpoints, run_steps=run_steps, limit=limit)
    task = made.attempt.task
    if job.state == "running":
        say(
            "note",
            f"job {job_id} runs at the moment, on worker {job.worker_id}; the replay does not touch it",
        )
    if not yes:
        _ask(job_id, task, run_steps=run_steps)
    with redirect_stdout(sys.stderr):
        findings = made.run()
    if not reveal:
        findings = masked_findings(findings, made.spec, made.attempt)
    if as_json:
        emit({"id": job_id, "task": task, "was": job.state, "attempt": made.attempt.attempt, **asdict(findings), "sessions": _plain(findings)})  # fmt: skip
    else:
        _show(job_id, task, job, made.attempt.attempt, findings)
    code = {"raised": FAILED, "timed out": TIMED_OUT, "interrupted": INTERRUPTED}.get(findings.ended, 0)
    if findings.unended:
        _leave(code)
    raise typer.Exit(code)


def _ask(job_id: int, task: str, *, run_steps: bool) -> None:
    """Asks whether to go on. Raises InvalidSettingError if there is no terminal, and ends the command if the answer is no."""
    if not sys.stdin.isatty():
        raise InvalidSettingError(
            "The command asks before it calls the handler, and stdin is no terminal.",
            why="effects outside the database are not undone",
            do=f"pgq jobs replay {job_id} --dry-run --yes",
        )
    say(
        "replay",
        f"job {job_id}, {task}: its handler is called in this process, and what it writes is rolled back",
    )
    say("not undone", "effects outside the database, such as mails, HTTP calls and files" + (
        "; the functions of its steps are called, too" if run_steps else ""
    ))  # fmt: skip
    try:
        goes_on = typer.confirm("Go on?", err=True)
    except typer.Abort:
        raise typer.Exit(INTERRUPTED) from None
    if not goes_on:
        say("ended", "no handler was called")
        raise typer.Exit


def _leave(code: int) -> None:
    """Ends the process although threads of the handler still run. Their connections close, so the server rolls them back."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _plain(findings: Findings) -> list[dict[str, object]]:
    return [
        {"connection": one.connection, "writes": [write._asdict() for write in one.writes], "note": one.note}
        for one in findings.sessions
    ]


def _show(job_id: int, task: str, job: Replayed, attempt: int, findings: Findings) -> None:
    tell(f"{job_id}  {task}, {job.state}; replayed as attempt {attempt}", "job         ")
    _show_actions(findings)
    _show_writes(findings)
    if findings.log:
        print()
    for line in findings.log:
        tell(f"{line.logger}: {line.text}", f"{line.level.lower():<11} ")
    print()
    took = exact(findings.seconds) if findings.seconds >= 1 else f"{findings.seconds * 1000:.1f} ms"
    facts = {
        "progress": None if findings.progress is None else shown_json(findings.progress),
        "result": findings.value, "error": findings.error, "ended": findings.sentence, "took": took,
        "written": "all that is shown here is rolled back; ids of sequences stay used",
    }  # fmt: skip
    for label, text in facts.items():
        if text is not None:
            tell(text, f"{label:<11} ")
    for note in findings.notes:
        tell(note, "note        ")
    if findings.unended:
        tell(f"{count(len(findings.unended), 'thread')} of the handler did not end: {', '.join(findings.unended)}", "note        ")  # fmt: skip
    if findings.traceback:
        print(f"\n{block(findings.traceback.rstrip())}")


def _show_actions(findings: Findings) -> None:
    if findings.steps:
        print()
        table(
            (tables.name("step"), "how"),
            [(named((one.name, one.key)), one.how) for one in findings.steps],
            empty="",
        )
    if findings.statements:
        print()
        table(
            ("connection", "rows", "time", tables.text("statement")),
            [(one.connection, one.rows, f"{one.seconds * 1000:.1f} ms", _with_error(one.text, one.error)) for one in findings.statements],
            empty="",
        )  # fmt: skip


def _with_error(text: str, error: str | None) -> str:
    line = " ".join(text.split())
    return line if error is None else f"{line}  -- {error}"


def _show_writes(findings: Findings) -> None:
    found = [(one.connection, write) for one in findings.sessions for write in one.writes]
    if found:
        print()
        table(
            (tables.name("table"), "inserted", "updated", "deleted", "connection"),
            [(f"{write.schema}.{write.table}", write.inserted, write.updated, write.deleted, name) for name, write in found],
            empty="",
        )  # fmt: skip
    for _, write in found:
        if write.rows or write.note:
            print()
            tell(f"{write.schema}.{write.table}: {_rows_in_words(write)}")
            for line in write.rows:
                print("  " + ", ".join(f"{visible(name)}={_value(value)}" for name, value in line.items()))
    for one in findings.sessions:
        if one.note:
            tell(f"{one.connection}: {one.note}", "note        ")


def _rows_in_words(write: Write) -> str:
    if write.note == "large":
        return "its rows are not shown, because it has more than 100 MB"
    if write.note:
        return f"its rows cannot be read (SQLSTATE {write.note})"
    return "the rows as they would be" if len(write.rows) < 20 else "20 of the rows as they would be"


def _value(value: object) -> str:
    text = visible(shown_json(value))
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"
