"""Renews the worker's lease from a thread and connection of its own, so that no careless handler can stop the renewal.

It also finds out which jobs were asked to stop. When the worker learns of a cancel, it has the thread look soon (``look``); such a
look renews nothing. The thread waits for an answer for at most a third of a lease. Then it cuts the connection, and makes another one.
The worker compares ``expires`` with the clock, so it notices the end of its lease while this thread still waits for an answer.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.outage import Outage, Trouble, is_lost
from pgqueue.database.run import connect, run
from pgqueue.database.silence import cut, within
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement

T = TypeVar("T")

LONGEST = 10.0  # seconds that the server may take
SHORTEST = 0.3  # seconds that the server may take, however short the lease


class Heartbeat:
    """``lost`` is called with the worker's id when its lease is over, ``cancel`` with the ids of jobs that were asked to stop.

    Both are called on the thread of the heartbeat; a worker passes these calls on to its loop.
    """

    def __init__(
        self,
        outage: Outage,
        *,
        every: float,
        lease: float,
        lost: Callable[[int], object],
        cancel: Callable[[list[int]], object],
        has_jobs: Callable[[], bool] = lambda: True,
    ) -> None:
        """``has_jobs`` is called on the same thread. If there are no jobs, the thread looks for cancels only when ``look`` asks for it."""
        self._outage = outage
        self._every, self._lease = every, lease
        self._patience = min(max(lease / 3, SHORTEST), LONGEST)
        self._lost, self._cancel, self._has_jobs = lost, cancel, has_jobs
        self._life: _Life | None = None
        self.state = "running"

    @property
    def expires(self) -> float:
        """The moment of the monotonic clock until which the lease surely holds. The lease counts from the request, not from the answer."""
        return -math.inf if self._life is None else self._life.expires

    def start(self, worker_id: int, asked: float) -> None:
        """Begins renewing the lease of a worker whose registration was sent at ``asked``."""
        self.stop()
        life = self._life = _Life(worker_id, asked + self._lease)
        life.renew_at = asked + self._jittered(self._every)
        life.thread = threading.Thread(target=self._keep, args=[life], name="pgqueue heartbeat", daemon=True)
        life.thread.start()

    def look(self) -> None:
        """Has the thread look soon which jobs were asked to stop, and call ``cancel`` with them. Does not wait for that."""
        if self._life is not None:
            self._life.due.set()

    def stop(self, patience: float = 0.0) -> None:
        """Ends the thread. If it is still at a statement after ``patience`` seconds, cuts its connection."""
        life = self._life
        if life is not None and life.thread is not None:
            life.stopped.set()
            life.due.set()
            life.thread.join(patience)
            if life.thread.is_alive() and life.connection is not None:
                cut(life.connection)

    def _keep(self, life: _Life) -> None:
        """Runs on the thread until the lease is over, or until ``stop``."""
        try:
            while self._take_turn(life):
                pass
            if not life.stopped.is_set():
                self._lost(life.worker_id)
        finally:
            if life.connection is not None:
                life.connection.close()

    def _take_turn(self, life: _Life) -> bool:
        """Waits until something is due, and does it. Returns whether the lease goes on."""
        is_asked = life.due.wait(max(life.renew_at - monotonic(), 0.0))
        life.due.clear()
        sent = monotonic()
        if life.stopped.is_set() or sent > life.expires:
            return False
        if sent >= life.renew_at and not self._renew(life, sent):
            return False
        if not life.is_failing:
            self._look_for_cancels(life, is_asked=is_asked)
        return True

    def _renew(self, life: _Life, sent: float) -> bool:
        """Renews the lease. Returns False if the server says that the lease is over. If the server does not answer, it is soon asked again."""
        try:
            renewed = self._ask(life, statements.heartbeat(life.worker_id, self._lease, self.state))
        except Exception as error:  # noqa: BLE001 - it is logged
            life.is_failing = True
            life.renew_at = monotonic() + self._jittered(min(self._every, life.renewing.after(error)))
            return True
        if renewed is None:
            return False
        life.is_failing = False
        life.expires = sent + self._lease
        life.renew_at = monotonic() + self._jittered(self._every)
        life.renewing.over()
        return True

    def _look_for_cancels(self, life: _Life, *, is_asked: bool) -> None:
        try:
            if is_asked or self._has_jobs():
                cancelled = self._ask(life, statements.list_cancel_requests(life.worker_id))
                if cancelled:
                    self._cancel(cancelled)
            life.looking.over()
        except Exception as error:  # noqa: BLE001 - it is logged
            life.looking.after(error)

    def _jittered(self, seconds: float) -> float:
        return seconds * random.uniform(0.9, 1.0)  # noqa: S311 - jitter, not a secret

    def _ask(self, life: _Life, statement: Statement[T]) -> T:
        if life.connection is None or life.connection.closed:
            life.connection = self._connect(again=life.connection is not None)
        with within(life.connection, self._patience):
            return run(life.connection, statement)

    def _connect(self, *, again: bool) -> Connection:
        begun = monotonic()
        try:
            connection = connect(self._outage.dsn, name="pgqueue heartbeat", patience=self._patience)
            with within(connection, self._patience):
                connection.execute(
                    f"set statement_timeout = {self._patience * 900:.0f};"
                    f" set lock_timeout = {self._patience * 500:.0f}".encode()
                )
        except Exception as error:
            if is_lost(error):
                self._outage.unreachable(error, begun)
            raise
        self._outage.connected(again=again)
        return connection


class _Life:
    """What belongs to one registration: its thread, its connection, its lease."""

    def __init__(self, worker_id: int, expires: float) -> None:
        self.worker_id, self.expires = worker_id, expires
        self.renew_at, self.is_failing = 0.0, False
        self.renewing, self.looking = Trouble("the heartbeat"), Trouble("the look for cancel requests")
        self.stopped, self.due = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.connection: Connection | None = None
