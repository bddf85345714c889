"""A real server of the web page for tests, and a real browser."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.tokens import Token, digest_of
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.web import create
from tests.waiting import wait_until

TOKENS = {role: f"pgq_test_token_of_the_{role.name}" for role in Role}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Server:
    """A running server. ``client`` asks it without a token, ``as_`` with the token of a role."""

    url: str
    app: Any
    server: uvicorn.Server
    clients: list[httpx2.Client] = field(default_factory=list)

    def as_(self, role: Role | None = None, **headers: str) -> httpx2.Client:
        sent = {"Authorization": f"Bearer {TOKENS[role]}"} if role else {}
        client = httpx2.Client(
            base_url=self.url, headers={"Accept": "text/html", **sent, **headers}, timeout=30
        )
        self.clients.append(client)
        return client

    def act(self, action: str, role: Role = Role.admin, **fields: Any) -> httpx2.Response:
        """Sends the form of an action, and returns the answer without following where it leads."""
        return self.as_(role).post("/actions", data={"action": action, **fields})


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[Server]:
    """Runs an ASGI app on a free port, in a thread."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1, **options
    )
    server = uvicorn.Server(config)
    sock = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    made = Server(f"http://127.0.0.1:{sock.getsockname()[1]}", app, server)
    try:
        yield made
    finally:
        for client in made.clients:
            client.close()
        server.should_exit = True
        thread.join(20)
        sock.close()
        assert not thread.is_alive()


@pytest.fixture
def serve(dsn: str) -> Iterator[Callable[..., Server]]:
    """Yields a function that starts the web page on the test's database. Each role has a token."""
    with ExitStack() as stack:

        def start(
            *, tokens: bool = True, dsn: str = dsn, server: dict[str, Any] | None = None, **options: Any
        ) -> Server:
            known = (
                [Token(digest_of(token), Who(role.name, role, ("*",))) for role, token in TOKENS.items()]
                if tokens
                else ()
            )
            options.setdefault("access", Access(known))
            return stack.enter_context(serving(create(dsn, **options), **(server or {})))

        yield start


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Yields Debian's Chromium without a window.

    It is started for each test, because playwright runs an event loop in this thread as long as it lives, which other tests must not meet.
    """
    if CHROMIUM is None:
        assert "CI" not in os.environ, "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Returns the folder for screenshots: that of PGQUEUE_TEST_PICTURES, or a folder of the test."""
    folder = Path(os.environ.get("PGQUEUE_TEST_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
