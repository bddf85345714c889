"""Renews the worker's lease on a separate thread and connection, so that a handler that blocks the loop cannot stop the renewal.

The thread also looks for cancels: it asks the database which of the worker's jobs were asked to stop. When the worker gets a notification
of a cancel, it calls ``look``, so that the thread looks for cancels soon, without renewing the lease. If the server does not answer within
a third of a lease, the thread closes the connection, and opens another connection. The worker itself compares ``expires`` with the clock.
So the worker notices the end of its lease even if this thread still waits for an answer.
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
from pgqueue.database.statements.requests import WorkerRequest
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement

T = TypeVar("T")

# The thread waits for an answer for a third of the lease, but at least SHORTEST and at most LONGEST seconds.
LONGEST = 10.0
SHORTEST = 0.3


class Heartbeat:
    """``lost`` is called with the worker's id when its lease is over. ``cancel`` is called with the ids of jobs that were asked to stop.

    Both are called on the thread of the heartbeat, and the worker passes the calls on to its loop.
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
        answer: Callable[[WorkerRequest], str] | None = None,
    ) -> None:
        """``has_jobs`` is called on the thread. If the worker has no jobs, the thread looks for cancels only after a call of ``look``.

        ``answer`` is called on the thread with each request of a person, and returns the answer.
        """
        self._outage = outage
        self._every, self._lease = every, lease
        self._patience = min(max(lease / 3, SHORTEST), LONGEST)
        self._lost, self._cancel, self._has_jobs, self._answer = lost, cancel, has_jobs, answer
        self._life: _Life | None = None
        self.state = "running"

    @property
    def expires(self) -> float:
        """Returns the time, by the monotonic clock, until which the lease surely holds.

        It is counted from the moment when the request was sent. The server counts from a later moment, so the lease ends later there.
        """
        return -math.inf if self._life is None else self._life.expires

    def mark(self) -> int | None:
        """Returns a number that grows as long as the thread turns. None while it waits, and if no lease is kept. Any thread can call it."""
        life = self._life
        rests = life is None or life.stopped.is_set() or monotonic() < life.renew_at
        return None if life is None or rests else life.turns

    def start(self, worker_id: int, asked: float) -> None:
        """Begins to renew the lease of a worker. ``asked``: the time when its registration was sent."""
        self.stop()
        life = self._life = _Life(worker_id, asked + self._lease)
        life.renew_at = asked + self._jittered(self._every)
        life.thread = threading.Thread(target=self._keep, args=[life], name="pgqueue heartbeat", daemon=True)
        life.thread.start()

    def look(self) -> None:
        """Makes the thread look for cancels soon, and call ``cancel`` if there are any. Returns without waiting for this."""
        if self._life is not None:
            self._life.due.set()

    def stop(self, patience: float = 0.0) -> None:
        """Ends the thread. If the thread has not ended after ``patience`` seconds, closes its connection."""
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
        """Waits until a renewal is due or ``look`` is called. If a renewal is due, renews the lease. Also looks for cancels.

        Returns whether the lease still holds.
        """
        life.turns += 1
        is_asked = life.due.wait(max(life.renew_at - monotonic(), 0.0))
        life.due.clear()
        sent = monotonic()
        if life.stopped.is_set() or sent > life.expires:
            return False
        is_due = sent >= life.renew_at
        if is_due and not self._renew(life, sent):
            return False
        if not life.is_failing:
            self._look_for_cancels(life, is_asked=is_asked)
            if self._answer is not None and (is_asked or life.has_requests):
                self._answer_requests(life, self._answer)
        return True

    def _renew(self, life: _Life, sent: float) -> bool:
        """Renews the lease. Returns False if the server answers that the lease is over. After an error, the next try follows soon."""
        try:
            renewed = self._ask(life, statements.heartbeat(life.worker_id, self._lease, self.state))
        except Exception as error:  # noqa: BLE001 - it is logged
            life.is_failing = True
            life.renew_at = monotonic() + self._jittered(min(self._every, life.renewing.after(error)))
            return True
        if renewed is None:
            return False
        life.is_failing = False
        _, life.has_requests = renewed
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

    def _answer_requests(self, life: _Life, answer: Callable[[WorkerRequest], str]) -> None:
        try:
            for request_id, request in self._ask(life, statements.list_worker_requests(life.worker_id)):
                self._ask(life, statements.answer_request(life.worker_id, request_id, answer(request)))
            life.has_requests = False
            life.answering.over()
        except Exception as error:  # noqa: BLE001 - it is logged
            life.answering.after(error)

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
    """The thread, the connection and the lease of one registration."""

    def __init__(self, worker_id: int, expires: float) -> None:
        self.worker_id, self.expires = worker_id, expires
        self.renew_at, self.is_failing, self.has_requests, self.turns = 0.0, False, False, 0
        self.renewing, self.looking = Trouble("the heartbeat"), Trouble("the search for cancel requests")
        self.answering = Trouble("the search for requests to the worker")
        self.stopped, self.due = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.connection: Connection | None = None
