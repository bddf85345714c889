"""``pgq db grants``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from pgqueue.errors import InvalidSettingError
from pgqueue.sql import grants
from pgqueue.text.nearest import rather

ROLES = ("enqueuer", "worker", "operator", "reader")
SIMPLE = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)

commands = typer.Typer(help="The rights that roles need in the database.", no_args_is_help=True)


@commands.callback()
def db() -> None:
    """The rights that roles need in the database."""


@commands.command("grants")
def print_grants(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The role's name in the database.", show_default=False),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="KIND", help=f"One of {', '.join(ROLES)}; default: all.", show_default=False),
    ] = None,
) -> None:
    """Print the SQL that gives roles only the rights that they need. This makes no connection.

    The owner of the schema has to run this SQL, and to run it again after each `pgq migrate`.
    """
    if role is not None and role not in ROLES:
        raise InvalidSettingError(f"--role is {role!r}.", do=rather(role, ROLES))
    if name is not None and role is None:
        raise InvalidSettingError(
            "A name is given without --role.", do="give the kind of the role, too, such as --role enqueuer"
        )
    print(
        "-- The owner of the schema pgqueue runs this SQL, and runs it again after each `pgq migrate`. Lines in comments are only sometimes needed."
    )
    for kind in ROLES if role is None else (role,):
        print("\n" + grants(kind).replace("ROLE", quoted(name or f"pgqueue_{kind}")))


def quoted(name: str) -> str:
    """Returns ``name`` as an SQL identifier."""
    if not name or "\x00" in name:
        raise InvalidSettingError("The name of a role is empty or contains U+0000.")
    return name if SIMPLE.fullmatch(name) else '"' + name.replace('"', '""') + '"'
