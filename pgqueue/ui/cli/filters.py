"""The options that choose jobs, such as --state and --queue. Every command that can choose jobs by options has all of these options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidArgumentsError, InvalidOptionError
from pgqueue.model.job import MEANT, STATE_WORDS, states_of
from pgqueue.model.names import check_name
from pgqueue.sql import JsonObject
from pgqueue.text.nearest import rather
from pgqueue.ui.cli.enqueue import json_object
from pgqueue.ui.cli.options import Command, spread

OPTIONS: dict[str, tuple[type[object], str | None, str]] = {
    "state": (
        list[str],
        None,
        "Jobs in this state; 'failed' means retrying and dead. Repeat the option for several states.",
    ),
    "queue": (str, None, "Jobs of this queue."),
    "task": (str, None, "Jobs of this task."),
    "tag": (str, None, "Jobs with this tag."),
    "error": (str, None, "Jobs whose last error contains this text."),
    "unique_key": (str, None, "Jobs with this unique key."),
    "idempotency_key": (str, None, "Jobs that were enqueued with this idempotency key."),
    "concurrency_key": (str, None, "Jobs with this concurrency key; --{}key for short."),
    "arg": (
        list[str],
        "NAME=VALUE",
        "Jobs with this argument: tenant=t1, n=5, 'at={\"x\": 1}'. Repeat the option for several arguments.",
    ),
    "args": (str, "JSON", 'Jobs whose arguments contain this object: \'{"tenant": "t1"}\'.'),
}


def filtered(prefix: str = "") -> Callable[[Command], Command]:
    """Adds OPTIONS to a command, each with ``prefix`` before its name. The command gets their values as ``which``, a JobFilter."""
    named = {prefix.replace("-", "_") + word: word for word in OPTIONS}

    def gather(given: JsonObject) -> JobFilter:
        return _filter(prefix, {word: given[name] for name, word in named.items()})

    return spread("which", {name: _option(prefix, word) for name, word in named.items()}, gather)


def _option(prefix: str, word: str) -> object:
    kind, metavar, text = OPTIONS[word]
    flags = [f"--{prefix}{word.replace('_', '-')}"] + (
        [f"--{prefix}key"] if word == "concurrency_key" else []
    )
    option = typer.Option(*flags, metavar=metavar, help=text.replace("{}", prefix), show_default=False)
    return Annotated[kind | None, option]


def _filter(prefix: str, given: JsonObject) -> JobFilter:
    args = json_object(f"--{prefix}args", given.pop("args"))
    for pair in given.pop("arg") or ():
        args = {**(args or {}), **_argument(f"--{prefix}arg", pair)}
    queue, states = given.pop("queue"), given.pop("state")
    return JobFilter(
        states=_states(f"--{prefix}state", states), queue=None if queue is None else check_name("queue", queue),
        args=None if args is None else _text(f"--{prefix}args", args), **given,
    )  # fmt: skip


def _text(flag: str, args: dict[str, object]) -> str:
    from pgqueue.model.payload import ARGS_LIMIT, check_text

    return check_text(json.dumps(args).encode(), flag, ARGS_LIMIT)


def _argument(flag: str, pair: str) -> dict[str, object]:
    """Decodes ``n=5`` to the number 5, and ``n="5"`` to the text 5. A value that is not JSON counts as a text, too."""
    name, equals, value = pair.partition("=")
    if not name or not equals:
        raise InvalidArgumentsError(f"{flag} is {pair!r:.80}.", do=f"write it like {flag} tenant=t1")
    try:
        return {name: json.loads(value)}
    except (ValueError, RecursionError):
        return {name: value}


def _states(flag: str, given: Iterable[str] | None) -> list[str] | None:
    if not given:
        return None
    found: list[str] = []
    for word in ",".join(given).split(","):
        if not (meant := states_of(word)):
            raise InvalidOptionError(f"{flag} is {word!r:.80}.", do=rather(word, STATE_WORDS, MEANT))
        found += meant
    return found
