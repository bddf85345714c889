"""``pgq jobs signal``: send a signal to a job, whose handler waits for it or will wait for it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError, JobNotFoundError, JobUnchangedError
from pgqueue.model.suspension import check_label, signal_name
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.ids import Id
from pgqueue.ui.cli.output import emit, say


def add(jobs: typer.Typer) -> None:
    jobs.command("signal")(send_signal)


def send_signal(
    job_id: Id,
    name: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="The name for which the job waits.")
    ],
    payload: Annotated[
        str | None, typer.Argument(metavar="JSON", show_default=False, help="What the handler gets.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="A second signal with the same name and key is not stored.")
    ] = None,
    sender: Annotated[str | None, typer.Option(help="Who sends the signal.")] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Send a signal to a job, such as the approval of a person: pgq jobs signal 42 approved '{"by": "ann"}'."""
    text = None if payload is None else _checked(payload)
    for what, value in (("key", key), ("sender", sender)):
        check_label(what, value)
    with database(dsn) as connection:
        said = run(connection, statements.signal(job_id, signal_name(name), text, key, sender))
    if said is None:
        raise JobNotFoundError(job_id)
    if said != "sent":
        raise JobUnchangedError(
            f"The signal was not sent: job {job_id} is {said}.", do=f"pgq jobs show {job_id}"
        )
    if as_json:
        emit({"id": job_id, "name": name, "result": said})
    else:
        say("sent", f"signal {name!a} to job {job_id}")


def _checked(payload: str) -> str:
    """Returns the JSON text if it is one, and a signal can carry it."""
    from pgqueue.model.payload import signal_text  # imports pydantic, which is slow

    try:
        return signal_text(json.loads(payload))
    except (ValueError, RecursionError) as error:
        raise InvalidOptionError(
            f"The payload is not JSON: {error}",
            do="""write a text as '"ann"' and an object as '{"by": "ann"}'""",
        ) from None
