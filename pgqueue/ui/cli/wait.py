"""``pgq jobs wait ID``. On a terminal, this command shows a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import JobNotFoundError
from pgqueue.model.redaction import MASK
from pgqueue.model.units import seconds
from pgqueue.runtime.clock import monotonic
from pgqueue.text.shown import visible
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database, dsn_or_running
from pgqueue.ui.cli.output import console, emit, say

if TYPE_CHECKING:
    from pgqueue.app.handle import JobHandle
    from pgqueue.model.job import Job


HINT_AFTER = 5.0  # seconds


def add(jobs: typer.Typer) -> None:
    jobs.command("wait")(wait)


def wait(
    job_id: Annotated[int, typer.Argument(metavar="ID")],
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Exit 9 if the job has not ended after this time: 90s, 5m.",
            show_default=False,
        ),
    ] = None,
    reveal: Reveal = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Wait until a job has ended and print its result. Exit 10 if it ended dead or cancelled, and 9 if --timeout passed first."""
    del as_json  # a result is always printed as JSON
    from pgqueue.app.app import App

    limit = wait_limit(timeout)
    with database(dsn) as connection:
        if not 1 <= job_id < 2**63 or run(connection, statements.get_job(job_id)) is None:
            raise JobNotFoundError(job_id)
    print_result(job_id, wait_watching(App(dsn_or_running(dsn)).handle(job_id), limit), dsn, reveal=reveal)


def print_result(job_id: int, result: object, dsn: str | None, *, reveal: bool) -> None:
    """Prints the result of a job as JSON. Unless ``reveal`` is True, its secret values are masked."""
    if not reveal and result is not None:
        with database(dsn) as connection:
            job = run(connection, statements.get_job(job_id))
        result = MASK if job is None else job.result
    emit(result)


def wait_limit(text: str | None) -> float | None:
    """Returns the value of --timeout in seconds. Raises InvalidOptionError if the value is no duration."""
    return None if text is None else seconds(text, "--timeout")


def wait_watching(handle: JobHandle, timeout: float | None) -> object:
    """Waits for the job's result and returns the result. If stderr is a terminal, shows the job's progress on stderr during the wait.

    If the job has not begun after HINT_AFTER seconds, a line on stderr names the command that shows the reason.
    """
    hint = hinting(handle.id)
    if not sys.stderr.isatty():
        return handle.result(timeout, hint)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    text = TextColumn("job {task.fields[id]} {task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, id=handle.id)

        def show(job: Job) -> None:
            hint(job)
            said = job.progressed if isinstance(job.progressed, dict) else {}
            done, total = (
                value if isinstance(value, int | float) else None
                for value in (said.get("done"), said.get("total"))
            )
            description = visible(f"{job.state} {said.get('message') or ''}".rstrip())
            bar.update(task, description=description, completed=done or 0, total=total)

        return handle.result(timeout, show)


def hinting(job_id: int) -> Callable[[Job], None]:
    """Returns a function to call after each look at the awaited job.

    If the job has not begun after HINT_AFTER seconds, the function prints this fact, once, and the command that shows the reason.
    """
    since = monotonic()
    said = False

    def hint(job: Job) -> None:
        nonlocal said
        if said or job.state == "running" or job.is_final or monotonic() - since < HINT_AFTER:
            return
        said = True
        say("waiting", f"job {job_id} does not run yet; to see why: pgq why {job_id}")

    return hint
