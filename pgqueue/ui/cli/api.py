"""``pgq api``: tokens for the HTTP API and the web page."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pgqueue.model.units import seconds
from pgqueue.ui.access.tokens import append, new_token, written
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.cli.output import say

commands = typer.Typer(help="Prepare the HTTP API and the web page.", no_args_is_help=True)


@commands.command()
def token(
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Who will use the token. The name appears in the audit.", show_default=False
        ),
    ],
    role: Annotated[
        str,
        typer.Option("--role", help="viewer reads, operator also changes jobs, admin also changes queues."),
    ] = "viewer",
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="A task that it may enqueue: mail.send, or mail.* for many. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            help="A queue that it may see: mail, or shop.* for many. Can be repeated. Default: all.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            help="For how long it is valid, such as 90d. Default: until it is removed.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            help="Add the token to this file. Default: print the lines for the file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a token. It is printed once; only its SHA-256 is stored."""
    who = Who(name, Role.named(role, "--role"), tuple(task or ()), tuple(queue or ("*",)))
    end = None if expires is None else datetime.now(UTC) + timedelta(seconds=seconds(expires, "--expires"))
    made = new_token()
    if file is None:
        print(written(made, who, end), file=sys.stderr)
        say("next", "add these lines to the file of tokens")
    else:
        append(file, made, who, end)
        say("stored", f"{file} has the SHA-256 of the token of {name}")
    say("note", "the token is printed this once")
    print(made)
