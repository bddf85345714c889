"""Renews the worker's lease from a thread and connection of its own, so that no careless handler can stop it.

It also brings back what the rows tell: that the lease is lost, and which jobs were asked to stop. The latter can be asked
for in between (``look``), as soon as somebody is known to have cancelled, which renews nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import psycopg

from pgqueue import statements
from pgqueue.clock import monotonic
from pgqueue.connections import TROUBLE, Outage
from pgqueue.database import connect, run
from pgqueue.errors import DatabaseError

SLOWEST = 2.0  # seconds between two tries to reach a server that is away

log = logging.getLogger("pgqueue")


class Heartbeat:
    """``lost`` and ``cancel`` are called on this thread; a worker hands them to its loop."""

    def __init__(
        self,
        dsn: str,
        outage: Outage,
        *,
        every: float,
        lease: float,
        lost: Callable[[], object],
        cancel: Callable[[list[int]], object],
    ) -> None:
        self._dsn, self._outage = dsn, outage
        self._every, self._lease = every, lease
        self._lost, self._cancel = lost, cancel
        self._stop, self._due = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.worker_id = 0
        self.state = "running"

    def start(self, worker_id: int) -> None:
        """Begins renewing the lease of a worker that has just registered."""
        self.worker_id = worker_id
        self._stop, self._due = threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._beat,
            args=(worker_id, self._stop, self._due),
            name="pgqueue heartbeat",
            daemon=True,
        )
        self._thread.start()

    def look(self) -> None:
        """Soon has ``cancel`` called with the jobs that were asked to stop. Returns at once."""
        self._due.set()

    def stop(self) -> None:
        self._stop.set()
        self._due.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def _beat(self, worker_id: int, stop: threading.Event, due: threading.Event) -> None:
        connection: psycopg.Connection[Any] | None = None
        opened = monotonic()
        expires = opened + self._lease
        beat_at, failures = opened + self._every * random.uniform(0.9, 1.0), 0  # noqa: S311 - jitter
        try:
            while True:
                due.wait(max(beat_at - monotonic(), 0.0))
                due.clear()
                if stop.is_set():
                    return
                sent = monotonic()
                if sent > expires:
                    self._lost()
                    return
                try:
                    if connection is None or connection.closed:
                        opened = monotonic()
                        connection = connect(self._dsn, name="pgqueue heartbeat")
                        self._outage.over()
                        connection.execute("set statement_timeout = '10s'")
                    if sent < beat_at and not failures:
                        self._cancel_all(run(connection, statements.list_cancel_requests(worker_id)))
                        continue
                    beat = run(connection, statements.heartbeat(worker_id, self._lease, self.state))
                except (*TROUBLE, DatabaseError) as error:
                    self._outage.lost(error, opened)
                    connection = None
                    failures += 1
                    pause = min(self._every, 0.1 * 2.0 ** min(failures, 10), SLOWEST)
                    beat_at = monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311
                    continue
                failures = 0
                beat_at = monotonic() + self._every * random.uniform(0.9, 1.0)  # noqa: S311
                if beat is None:
                    self._lost()
                    return
                expires = sent + self._lease
                self._cancel_all(beat.cancelled)
        except Exception:
            log.exception("the heartbeat failed, which is a bug; the worker gives up its jobs")
            self._lost()
        finally:
            if connection is not None:
                connection.close()

    def _cancel_all(self, job_ids: list[int]) -> None:
        if job_ids:
            self._cancel(job_ids)
