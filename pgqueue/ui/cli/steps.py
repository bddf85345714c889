"""``pgq jobs steps`` and ``pgq jobs forget-step``: list the steps that a job has done, and forget a step, so that it is done again."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.config import secret_names
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.decoding import plain
from pgqueue.errors import JobNotFoundError, StepNotFoundError
from pgqueue.model.redaction import masked_value
from pgqueue.model.steps import named
from pgqueue.text.times import ago
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import emit, emit_items, say, shown_json
from pgqueue.ui.cli.tables import table


def add(jobs: typer.Typer) -> None:
    jobs.command("steps")(list_steps)
    jobs.command("forget-step")(forget_step)


def list_steps(job_id: Id, reveal: Reveal = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List the steps that a job has done, the oldest first."""
    with database(dsn) as connection:
        found = run(connection, statements.load_checkpoints([job_id]))[job_id]
        if not found and run(connection, statements.get_job(job_id)) is None:
            raise JobNotFoundError(job_id)
        secrets = frozenset[str]() if reveal else run(connection, statements.get_secrets(job_id))
    names = frozenset[str]() if reveal else secret_names()
    values = {one.step_id: masked_value(plain(one.value), secrets, names) for one in found}
    found.sort(key=lambda one: (str(one.at), one.step_id))
    if as_json:
        emit_items(
            {"name": one.name, "key": one.key, "kind": one.kind, "at": one.at, "lease_id": one.lease_id, "value": values[one.step_id]}
            for one in found
        )  # fmt: skip
        return
    table(
        (tables.name("step"), tables.name("key"), "kind", "done", tables.text("value")),
        [(one.name, one.key, one.kind, ago(one.at), shown_json(values[one.step_id])) for one in found],
        empty=f"Job {job_id} has done no steps.",
    )


def forget_step(
    job_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    key: Annotated[str, typer.Argument(metavar="KEY", show_default=False)] = "",
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Forget a step, so that the next attempt of the job does the step again. An attempt that is already running still skips the step."""
    with database(dsn) as connection:
        if not run(connection, statements.forget_step(job_id, name, key, who=operator())):
            raise StepNotFoundError(
                f"Job {job_id} has no step {named((name, key))}.", do=f"pgq jobs steps {job_id}"
            )
    if as_json:
        emit({"id": job_id, "name": name, "key": key, "forgotten": True})
    else:
        say("forgotten", f"step {named((name, key))} of job {job_id}; the next attempt does the step again")
