"""``pgq web``."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from pgqueue.errors import InvalidSettingError, PackageMissingError
from pgqueue.runtime.sockets import listening_socket
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import Dsn, database, dsn_or_running
from pgqueue.ui.cli.output import say

Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Listen on this address.")]
Port = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65_535, help="Listen on this port.")]
Tokens = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help="Serve only callers with a token of this file. Make tokens with: pgq api token.",
        show_default=False,
    ),
]
Actions = Annotated[
    bool,
    typer.Option(
        "--allow-actions",
        help="Let people change jobs, queues and limits, as far as the role of their token allows it. Without tokens: everybody on this machine.",
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        metavar="HOST",
        help="A further name of this server, such as jobs.example.com.",
        show_default=False,
    ),
]
BasePath = Annotated[
    str,
    typer.Option(
        "--base-path",
        metavar="PATH",
        help="The path under which a proxy shows the page, such as /queue. The proxy may take it off or not.",
        show_default=False,
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        metavar="WORD",
        help="A word that stands on every page, such as production.",
        show_default=False,
    ),
]


def add(cli: typer.Typer) -> None:
    cli.command()(web)


def web(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    tokens: Tokens = None,
    allow_actions: Actions = False,
    names: Hosts = None,
    base_path: BasePath = "",
    environment: Environment = None,
    dsn: Dsn = None,
) -> None:
    """Serve the web page. By default, only programs on this machine may read it, and nobody may change anything."""
    try:
        import uvicorn

        from pgqueue.ui.web import create
        from pgqueue.ui.web.prefix import Under, checked_prefix
    except ImportError as error:
        raise PackageMissingError(
            "The web page needs more packages.", why=str(error), do="pip install 'pgqueue-jobs[web]'"
        ) from error
    from pgqueue.ui.access.access import Access
    from pgqueue.ui.access.tokens import TokenFile
    from pgqueue.ui.access.who import Role, Who

    access = Access(
        TokenFile(tokens).tokens if tokens else (),
        hosts=names or (),
        anonymous=Who(operator("web").actor, Role.admin if allow_actions else Role.viewer),
    )
    access.check_bind(host, base_path)
    prefix = checked_prefix(base_path, "--base-path")
    sock = _listening(host, port)
    target = dsn_or_running(dsn)
    with database(target):
        pass  # what is wrong with the database is said now, and not by the first page
    app = create(target, access=access, actions=allow_actions, environment=environment)
    config = uvicorn.Config(
        Under(app, prefix) if prefix else app,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    shown = f"[{host}]" if ":" in host else host
    say("web", f"http://{shown}:{sock.getsockname()[1]}{prefix}/")
    say("who", ("anybody with a token of " + str(tokens)) if tokens else "programs on this machine")
    say("may", "read and change" if allow_actions else "read; to change jobs: --allow-actions")
    server.run(sockets=[sock])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listening_socket(host, port)
    except OSError as error:
        raise InvalidSettingError(
            f"pgq web cannot listen on {host} port {port}.",
            why=error.strerror or str(error),
            do="name another port: --port 8081; --port 0 takes a free one",
        ) from error
