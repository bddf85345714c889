"""One Postgres server for all processes of a test run. It is started when the first test asks for it.

With xdist, the tests run in xdist's workers. The process that starts these workers (the controller) also starts the server. A worker
asks the controller for the server's DSN on a socket. If no test of the run needs a database, no server is started.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack, suppress
from multiprocessing.connection import Client, Listener

from pgqueue.database import migrate
from tests.servers import create_database, drop_database, test_server

Place = tuple[
    str, str
]  # the server's DSN, and the name of the template: a migrated database, of which each test gets a copy


class SharedServer:
    """Starts the server when ``place`` is called for the first time. ``close`` stops it again."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._place: Place | None = None

    def place(self) -> Place:
        """Returns the DSN of the server and the name of the template. The first call starts the server."""
        with self._lock:
            if self._place is None:
                admin = self._stack.enter_context(test_server())
                template = f"pgqueue_template_{secrets.token_hex(4)}"
                migrate.upgrade(create_database(admin, template))
                self._stack.callback(drop_database, admin, template)
                self._place = admin, template
            return self._place

    def listen(self) -> str:
        """Begins to answer other processes that call ``ask``; returns the address that they must pass to ``ask``."""
        listener = Listener(family="AF_UNIX")
        self._stack.callback(listener.close)
        threading.Thread(target=self._answer, args=(listener,), daemon=True).start()
        return str(listener.address)

    def _answer(self, listener: Listener) -> None:
        """Runs in a thread that lasts as long as the run of tests, because an embedded server stops with the thread that started it."""
        with suppress(OSError):  # accept fails when the listener is closed
            while True:
                asking = listener.accept()
                with asking, suppress(OSError):  # the process that asked can end before it gets its answer
                    try:
                        answer = self.place(), None
                    except Exception as error:  # noqa: BLE001 - the process that asked raises it
                        answer = None, f"{type(error).__name__}: {error}"
                    asking.send(answer)

    def close(self) -> None:
        with self._lock:
            self._stack.close()


def ask(address: str) -> Place:
    """Asks the controller at this address for the server's DSN and the name of the template, and returns both."""
    with Client(address, family="AF_UNIX") as controller:
        place, failure = controller.recv()
    if failure:
        raise RuntimeError(f"the test server did not start: {failure}")
    return place
