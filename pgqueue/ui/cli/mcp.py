"""``pgq mcp``."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from pgqueue.errors import PackageMissingError
from pgqueue.telemetry import log_output
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import Dsn, dsn_or_running

Actions = Annotated[
    bool,
    typer.Option(
        "--allow-actions",
        help="Let agents retry jobs, cancel them and make them due now. Each action is written into the audit.",
    ),
]


def add(cli: typer.Typer) -> None:
    cli.command()(mcp)


def mcp(allow_actions: Actions = False, dsn: Dsn = None) -> None:
    """Serve agents over stdin and stdout, by the Model Context Protocol. By default, agents can only read."""
    try:
        import anyio

        from pgqueue.ui.mcp.server import serve
    except ImportError as error:
        raise PackageMissingError(
            "The server for agents needs more packages.",
            why=str(error),
            do="pip install 'pgqueue-jobs[mcp]'",
        ) from error

    log_output.set_up()
    # Python's own handler would wait for the thread that reads stdin, so Ctrl-C would do nothing until stdin ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    who = operator("mcp") if allow_actions else None
    anyio.run(serve, dsn_or_running(dsn), who)
