"""``pgq health``: asks the worker on this host for its health, for containers without curl."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from pgqueue.config import read_worker
from pgqueue.errors import CheckFailedError, InvalidSettingError
from pgqueue.text.shown import visible
from pgqueue.ui.cli.common import AsJson
from pgqueue.ui.cli.options import with_settings
from pgqueue.ui.cli.output import emit, tell

if TYPE_CHECKING:
    from http.client import HTTPResponse

PATIENCE = 5.0  # seconds for the whole question
MOST_BYTES = 65_536  # of an answer
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - a worker that listens everywhere also listens here

commands = typer.Typer(
    help="Ask the worker of this host how it is. Exit code 0: well; 7: not.", no_args_is_help=True
)


@commands.command("live")
@with_settings("health_port", "health_host")
def live(as_json: AsJson = False, **flags: object) -> None:
    """Is the process alive? Never asks the database. If not, restart the process."""
    _ask("livez", flags, as_json=as_json)


@commands.command("ready")
@with_settings("health_port", "health_host")
def ready(as_json: AsJson = False, **flags: object) -> None:
    """Does the worker take jobs now? Not while it starts or drains, or if the database does not answer or fit."""
    _ask("readyz", flags, as_json=as_json)


@commands.command("startup")
@with_settings("health_port", "health_host")
def startup(as_json: AsJson = False, **flags: object) -> None:
    """Has the worker begun to claim jobs? Useful while the app is slow to start."""
    _ask("startupz", flags, as_json=as_json)


def _ask(path: str, flags: dict[str, object], *, as_json: bool) -> None:
    found = read_worker(flags)
    port, host = found.get("health_port"), str(found.get("health_host", "127.0.0.1"))
    if not isinstance(port, int):
        raise InvalidSettingError(
            "No health port is known.",
            why="neither --health-port nor PGQUEUE_HEALTH_PORT nor health_port in [tool.pgqueue] is set",
            do="give the worker and this command the same port, such as --health-port 8081",
        )
    failing = _failing(ANYWHERE.get(host, host), port, path)
    if as_json:
        emit({"ok": not failing, "failing": failing})
        raise typer.Exit(7 if failing else 0)
    if failing:
        raise CheckFailedError(
            "The worker is not well: " + "; ".join(failing) + ".", do="read the log of the worker"
        )
    tell("ok")


def _failing(host: str, port: int, path: str) -> list[str]:
    """Returns what is wrong. Empty: nothing."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{path}", headers={"Connection": "close"})
        return _read(connection.getresponse())
    except (OSError, HTTPException) as error:
        return [f"no answer from {host}:{port}: {visible(str(error)) or type(error).__name__}"]
    finally:
        connection.close()


def _read(response: HTTPResponse) -> list[str]:
    try:
        said = json.loads(response.read(MOST_BYTES))
        return [visible(str(one)) for one in said["failing"]]
    except (ValueError, KeyError, TypeError):
        return ["the answer is not that of a worker of pgqueue; another program has this port"]
