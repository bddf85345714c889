"""A worker of a Django project in this process, for tests."""

from __future__ import annotations

import threading
from unittest.mock import patch

LOOP = "asyncio.unix_events._UnixSelectorEventLoop"


def drain(concurrency: int = 10) -> None:
    """Runs a worker until no job is due, on a thread of its own, because a test can run in an event loop."""
    from pgqueue.config import WorkerSettings
    from pgqueue.integrations.django.discovery import project_app
    from pgqueue.worker.worker import Worker

    app = project_app()
    settings = WorkerSettings(queues={"*": None}, drain=True, poll=0.05, concurrency=concurrency)
    caught: list[BaseException] = []

    def nothing(*_: object) -> None:
        """Only the main thread gets signals."""

    def run() -> None:
        try:
            with patch.multiple(LOOP, add_signal_handler=nothing, remove_signal_handler=nothing):
                Worker(app, settings).run()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and not caught, caught
