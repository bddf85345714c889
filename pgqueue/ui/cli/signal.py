"""``pgq jobs signal``: send a signal to a job, whose handler waits for it or will wait for it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.signals import AwaitedSignals
from pgqueue.errors import InvalidOptionError, JobNotFoundError, JobUnchangedError
from pgqueue.model.suspension import RESERVED, check_label, signal_name
from pgqueue.ui.cli.changes import operator
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
        statement = statements.signal(job_id, signal_name(name), text, key, sender, who=operator())
        wait = run(connection, statements.find_wait(job_id, name, key))  # None if the job is revived just now
        said = run(connection, statement)
    if said is None:
        raise JobNotFoundError(job_id)
    if said != "sent":
        raise JobUnchangedError(
            f"The signal was not sent: job {job_id} is {said}.", do=f"pgq jobs show {job_id}"
        )
    effect = None if wait is None else _effect(wait, name)
    if as_json:
        waits_for = None if wait is None else wait.names
        emit({"id": job_id, "name": name, "result": said, "effect": effect, "waits_for": waits_for})
    elif wait is None or effect == "woken":
        say("sent", f"signal {name!a} to job {job_id}" + (", which goes on" if effect == "woken" else ""))
    elif effect == "repeated":
        say(
            effect,
            f"signal {name!a} of the key {key!a}, which job {job_id} had got before; nothing is stored",
        )
    else:
        say("kept", f"signal {name!a} for job {job_id}, which does not wait for it now: {_instead(wait)}")


def _effect(wait: AwaitedSignals, name: str) -> str:
    if wait.has_signal:
        return "repeated"
    return "woken" if name in wait.names else "kept"


def _instead(wait: AwaitedSignals) -> str:
    """Says what a job does that does not wait for the signal."""
    if not wait.names:
        return f"it is {wait.state}"
    if any(name.startswith(RESERVED) for name in wait.names):
        return "it waits for its children"
    return "it waits for " + " or ".join(f"{name!a}" for name in wait.names)


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
