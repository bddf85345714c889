"""Runs the HTTP API for tests by uvicorn: on a thread of the test's process, or in a process of its own. Sends requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.tokens import Token, TokenFile, append, digest_of, new_token
from pgqueue.ui.access.who import Role, Who

ROOT = Path(__file__).parents[1]


class Tokens:
    """Makes tokens, and the access that knows them."""

    def __init__(self) -> None:
        self._stored: list[Token] = []

    def add(
        self, name: str = "ada", role: Role = Role.admin, tasks: Any = ("*",), queues: Any = ("*",)
    ) -> str:
        token = new_token()
        self._stored.append(Token(digest_of(token), Who(name, role, tuple(tasks), tuple(queues))))
        return token

    def access(self, **more: Any) -> Access:
        return Access(lambda: self._stored, **more)

    def write(self, path: Path) -> Path:
        for token in self._stored:
            append_digest(path, token)
        return path


def append_digest(path: Path, token: Token) -> None:
    """Adds a token of which only the digest is known."""
    append(path, "x", token.who)
    path.write_text(path.read_text().replace(digest_of("x"), token.sha256))


class Client(httpx2.Client):
    """A client of the API that sends a token with each request."""

    def __init__(self, port: int, token: str | None = None, prefix: str = "/api/v1", **more: Any) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        super().__init__(
            base_url=f"http://127.0.0.1:{port}{prefix}", headers=headers, timeout=60, trust_env=False, **more
        )
        self.port = port


def listening() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen(4096)
    return found


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """Serves an ASGI app on a thread with a loop of its own. Yields the port."""
    with listening() as door:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def served_apart(
    dsn: str, tokens: Path, *, app: str = "", folder: Path = ROOT, with_page: bool = False
) -> Iterator[int]:
    """Serves the API in a process of its own, which gets SIGTERM at the end. Yields the port.

    ``app``: ``module:app`` in ``folder``; empty: the API has only the DSN. ``with_page``: below the web page.
    """
    with listening() as door, tempfile.TemporaryFile("w+") as said:
        given = json.dumps(
            {"dsn": dsn, "tokens": str(tokens), "app": app, "fd": door.fileno(), "with_page": with_page}
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.http_servers", given],
            pass_fds=[door.fileno()], env=environment, cwd=folder, stderr=said, text=True,
        )  # fmt: skip
        try:
            yield door.getsockname()[1]
        finally:
            process.terminate()
            process.wait(30)
            said.seek(0)
            print(said.read()[-5000:])


def serve(given: dict[str, Any]) -> None:
    from pgqueue.app.loading import load_app
    from pgqueue.ui import api, web

    access = Access(TokenFile(given["tokens"]).tokens)
    made: Any
    if given["with_page"]:
        made = web.create(given["dsn"], access=access, actions=True)
    else:
        made = api.create(load_app(given["app"]) if given["app"] else given["dsn"], access=access)
    config = uvicorn.Config(
        made, fd=given["fd"], log_level="critical", access_log=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
