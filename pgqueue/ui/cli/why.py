"""``pgq why``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import JobNotFoundError
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit, say, tell


def add(cli: typer.Typer) -> None:
    cli.command()(why)


def why(
    job_id: Annotated[int, typer.Argument(metavar="ID")], as_json: AsJson = False, dsn: Dsn = None
) -> None:
    """Show the reason why a job does not run. Exit 5 if there is no such job."""
    if not 1 <= job_id < 2**63:
        raise JobNotFoundError(job_id)
    with database(dsn) as connection:
        found = run(connection, statements.why_shown(job_id))
    if as_json:
        emit(found)
    else:
        tell(found.sentence)
        if found.do:
            say("do", found.do)
    if found.reason == "unknown":
        raise typer.Exit(JobNotFoundError.exit_code)
