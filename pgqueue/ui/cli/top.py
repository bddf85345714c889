"""``pgq top``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pgqueue.errors import InvalidSettingError
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import Dsn, database, dsn_or_running, silence

Actions = Annotated[
    bool,
    typer.Option(
        "--allow-actions", help="Let upper-case keys change jobs, queues, limits and schedules. Each asks."
    ),
]


def add(cli: typer.Typer) -> None:
    cli.command()(top)


def top(allow_actions: Actions = False, dsn: Dsn = None) -> None:
    """Show the pages of the web page in the terminal, live. By default, nothing can be changed. The key ? shows all keys."""
    from pgqueue.ui.tui.app import Top

    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise InvalidSettingError(
            "pgq top needs a terminal.", do="for text in a pipe: pgq stats, pgq queues list, pgq jobs list"
        )
    target = dsn_or_running(dsn)
    with database(target) as connection:  # what is wrong with the database is said now, and not on the screen
        where = connection.info.dbname
    silence()
    dashboard = Top(target, operator("tui") if allow_actions else None, where)
    dashboard.run()
    raise typer.Exit(dashboard.return_code or 0)
