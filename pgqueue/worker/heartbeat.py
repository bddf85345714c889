"""Renews the worker's lease from a thread and connection of its own, so that no careless handler can stop it.

It also brings back what the row tells: that the lease is lost, and which jobs were asked to stop.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from pgqueue import statements
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
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.worker_id = 0
        self.state = "running"

    def start(self, worker_id: int) -> None:
        """Begins renewing the lease of a worker that has just registered."""
        self.worker_id = worker_id
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(worker_id, self._stop), name="pgqueue heartbeat", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def _beat(self, worker_id: int, stop: threading.Event) -> None:
        connection: psycopg.Connection[Any] | None = None
        opened = time.monotonic()
        expires = opened + self._lease
        pause, failures = self._every, 0
        try:
            while not stop.wait(pause * random.uniform(0.5 if failures else 0.9, 1.0)):  # noqa: S311 - jitter
                sent = time.monotonic()
                if sent > expires:
                    self._lost()
                    return
                try:
                    if connection is None or connection.closed:
                        opened = time.monotonic()
                        connection = connect(self._dsn, name="pgqueue heartbeat")
                        self._outage.over()
                        connection.execute("set statement_timeout = '10s'")
                    beat = run(connection, statements.heartbeat(worker_id, self._lease, self.state))
                except (*TROUBLE, DatabaseError) as error:
                    self._outage.lost(error, opened)
                    connection = None
                    failures += 1
                    pause = min(self._every, 0.1 * 2.0 ** min(failures, 10), SLOWEST)
                    continue
                pause, failures = self._every, 0
                if beat is None:
                    self._lost()
                    return
                expires = sent + self._lease
                if beat.cancelled:
                    self._cancel(beat.cancelled)
        except Exception:
            log.exception("the heartbeat failed, which is a bug; the worker gives up its jobs")
            self._lost()
        finally:
            if connection is not None:
                connection.close()
