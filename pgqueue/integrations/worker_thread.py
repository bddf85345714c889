"""A worker on a thread of another program, such as a web server. It is meant for development and for small services.

The worker has an event loop of its own, so a request and a handler do not wait for each other's awaits. But they share one CPU (the GIL),
the memory, and the end of the process: a deploy of the web server stops the worker, too. Each process of the web server runs one.
"""

from __future__ import annotations

import os
import threading
from dataclasses import fields, replace

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings, read_file
from pgqueue.errors import InvalidSettingError, PgQueueError
from pgqueue.maintenance.alerting.settings import find_alerts
from pgqueue.telemetry import log_output
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import EmbeddedWorkerEnded, WorkerEmbedded
from pgqueue.text.nearest import guess
from pgqueue.worker.settings import settings_for
from pgqueue.worker.worker import Worker

AFTER_GRACE = 10.0  # seconds for the last writes of a worker, after its jobs have ended or were handed back
PATIENCE = 86_400.0  # seconds for which a worker waits for a database that is away when it begins


class WorkerThread:
    """Runs the jobs of ``app`` on a thread. ``settings``: those of ``pgq work``, such as ``concurrency=4, grace=10``.

    Raises InvalidSettingError if a setting is wrong, or makes sense only in a process of its own.
    """

    def __init__(self, app: App, **settings: object) -> None:
        known = [one.name for one in fields(WorkerSettings)]
        for name in settings.keys() - set(known):
            raise InvalidSettingError(
                f"A worker has no setting {name!r}.",
                do=guess(name, known, "use a setting of pgq work"),
            )
        chosen = settings_for(app, **settings)
        _check(chosen)
        # A blocked loop must not end the web server, and a database that is away must not keep it from beginning.
        chosen = replace(chosen, blocked=0.0, wait_for_db=chosen.wait_for_db or PATIENCE)
        self._grace = chosen.grace
        self._worker = Worker(app, chosen, alerts=find_alerts(read_file()))
        self._thread = threading.Thread(target=self._run, name="pgqueue worker", daemon=True)
        self._stopped = False

    def start(self) -> None:
        """Begins, and returns at once. If the worker cannot work, a log line says why."""
        log_output.set_up()
        emit(WorkerEmbedded(os.getpid()))
        self._thread.start()

    def stop(self) -> None:
        """Claims no more jobs, and waits until the running ones have ended or, after ``grace`` seconds, were handed back."""
        self._stopped = True
        self._worker.stop_request.ask()
        self._thread.join(self._grace + AFTER_GRACE)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        why, bug = "", None
        try:
            code = self._worker.run()
            why = f"exit code {code}"
        except PgQueueError as error:
            why = str(error)
        except BaseException as error:  # noqa: BLE001 - a thread has no caller to whom it could be raised
            why, bug = f"{type(error).__name__}, which is a bug", error
        if not self._stopped:
            emit(EmbeddedWorkerEnded(why, bug))


def _check(settings: WorkerSettings) -> None:
    own = {
        "processes": settings.processes > 1,
        "max_jobs": settings.max_jobs is not None,
        "max_rss": settings.max_rss is not None,
        "drain": settings.drain,
    }
    for name, is_set in own.items():
        if is_set:
            raise InvalidSettingError(
                f"{name} is set for a worker inside another process.",
                why="it would end the process",
                do="leave it out, or run pgq work",
            )
