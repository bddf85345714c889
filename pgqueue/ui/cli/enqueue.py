"""``pgq enqueue TASK --name value``."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated

import typer

from pgqueue.errors import InvalidArgumentsError, InvalidOptionError
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, Reveal, app_path, app_with_database
from pgqueue.ui.cli.output import as_dict, emit, say
from pgqueue.ui.cli.wait import print_result, wait_limit, wait_watching


def add(cli: typer.Typer) -> None:
    cli.command("enqueue", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(
        enqueue
    )


def enqueue(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's name.")],
    app: AppPath = None,
    args: Annotated[
        str | None, typer.Option(metavar="JSON", help="All arguments as one JSON object; - reads stdin.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="A queue other than the task's.")] = None,
    priority: Annotated[int | None, typer.Option(help="Smaller numbers run first.")] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--in", metavar="DURATION", help="The earliest start, counted from now: 90s, 5m, 1h30m."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The earliest start, with its zone: 2030-01-01T09:00+01:00."),
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option(help="Only one unfinished job of this task can have this key.")
    ] = None,
    on_conflict: Annotated[
        str | None,
        typer.Option(help="If an unfinished job has the unique key: skip (default), replace, raise."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="If the key was used before, no job is stored, and the earlier job is returned."),
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Attempts before the job is dead.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Cancel the job if it has not started by then."),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="DURATION|TIME", help="Make the job dead if it has not ended by then."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag. Repeat the option for several tags.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long --wait waits at most: 90s, 5m.")
    ] = None,
    reveal: Reveal = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Store a job. Its arguments follow as options: pgq enqueue shop.greet --name Ada."""
    limit = wait_limit(timeout)
    loaded = app_with_database(app_path(app), dsn)
    loaded.spec(task)
    chosen = loaded.tasks[task].using(
        queue=queue, priority=priority, delay=delay, run_at=moment("--at", at), unique_key=unique_key,
        on_conflict=on_conflict, idempotency_key=idempotency_key, max_attempts=max_attempts,
        expires=bound("--expires", expires), deadline=bound("--deadline", deadline), tags=tag,
    )  # fmt: skip
    handle = chosen.enqueue(**_arguments(args, context.args))
    if not as_json:
        made = "enqueued" if handle.created else "exists"
        say(
            made,
            f"job {handle.id}  {task}" + ("" if handle.created else f"  ({handle.conflict}, {handle.state})"),
        )
    if wait:
        print_result(handle.id, wait_watching(handle, limit), loaded.dsn, reveal=reveal)
    elif as_json:
        emit(as_dict(handle))
    else:
        print(handle.id)


def _arguments(text: str | None, options: list[str]) -> dict[str, object]:
    given: dict[str, object] = json_object("--args", text) or {}
    words = iter(options)
    for word in words:
        if not word.startswith("--"):
            raise InvalidArgumentsError(
                f"{word!r} stands alone, without the name of an argument.",
                do="give every argument as --name value",
            )
        name, equals, value = word[2:].partition("=")
        if not equals:
            following = next(words, None)
            if following is None:
                raise InvalidArgumentsError(f"--{name} has no value.", do=f"write --{name} VALUE")
            value = following
        given[name.replace("-", "_")] = _value(value)
    return given


def _value(text: str) -> object:
    """Decodes a JSON list, object, true, false or null. Other text stays text; the types in the task's signature convert it later."""
    if text[:1] in ("{", "[") or text in ("true", "false", "null"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def json_object(flag: str, text: str | None) -> dict[str, object] | None:
    """Returns the JSON object that is the value of a flag. If the value is ``-``, reads the object from stdin."""
    if text is None:
        return None
    do = """write it like '{"name": "Ada"}'"""
    try:
        given = json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentsError(f"{flag} is not JSON: {error}.", do=do) from None
    if not isinstance(given, dict):
        raise InvalidArgumentsError(f"{flag} is not a JSON object.", do=do)
    return given


def moment(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    do = "write it like 2030-01-01T09:00+01:00"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidOptionError(f"{flag} is {text!r:.40}.", do=do) from None
    if found.tzinfo is None:
        raise InvalidOptionError(f"{flag} is {text!r:.40}.", why="it needs a time zone", do=do)
    return found


def bound(flag: str, text: str | None) -> datetime | str | None:
    """Returns the value of a flag that takes a time or a duration: a time as a datetime, and a duration as text."""
    return text if text is None or "-" not in text[1:] else moment(flag, text)
