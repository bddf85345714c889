"""The thread that waits for the end of jobs. All waiters of this process share this thread and its listening connection.

The thread announces that it waits (``mark_waited.sql``), because workers send a NOTIFY about an end only if a thread waits.
A NOTIFY merely saves time: at least every POLL seconds, one query reads the rows of all awaited jobs.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakSet

from psycopg import AsyncConnection

from pgqueue.database import statements
from pgqueue.database.driver_errors import explained, may_not_read
from pgqueue.database.outage import is_lost
from pgqueue.database.run import ORDINARY, connect_async, listen, run_async, wait_notified
from pgqueue.errors import DatabaseError, DatabaseUnreachableError, MissingPrivilegeError
from pgqueue.model.job import Job
from pgqueue.runtime.clock import Loop, monotonic
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import LookoutFailed

T = TypeVar("T")

POLL = 1.0  # the rows of the awaited jobs are read every POLL seconds
LINGER = 10.0  # the connection is closed after this many seconds without a waiter
OUTAGE_PATIENCE = 60.0  # all waits end if the server was unreachable for more seconds than this
# If the time of a waiter is up before its job was read for the first time, the waiter waits at most this many seconds more.
FIRST_LOOK = 5.0
ANSWER_TIMEOUT = 20.0  # the server must answer within this many seconds
RECONNECT_AFTER = 0.5  # seconds between two tries to reach the server
FINISHED = "pgqueue_finished"
# The payload of a notification, if it is a job's id. A notification of another program can have any other payload.
NUMBER = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(eq=False, slots=True)
class Waiter:
    """The wait for one job. ``put`` is called with the job when it has ended. None: there is no such job.

    If ``watched`` is True, ``put`` is called each time that the job is read.
    At ``end``, ``put`` is called with OVER. If the job cannot be read, ``put`` is called with the error.
    """

    job_id: int
    end: float | None
    watched: bool
    put: Callable[[Job | BaseException | None], object]
    seen: bool = False  # whether its job was read; every job is read at least once, even with a timeout of 0
    timer: asyncio.TimerHandle | None = None


class Over(Exception):  # noqa: N818 - no error: it says that the time is up
    """The time of a waiter is over."""


OVER = Over()


class Lookout:
    """The thread, its loop and the connection. The thread starts with its first waiter."""

    def __init__(self, dsn: str, first: Waiter) -> None:
        self._dsn = dsn
        self._loop = Loop()
        self._lock = threading.Lock()
        self._waiters: set[Waiter] = set()
        self._closing = self._over = False
        # Set if a waiter came, or if the thread has to check whether it must end.
        self._news = asyncio.Event()
        self._new: set[int] = set()
        self._connection: AsyncConnection | None = None
        self._trouble_since: float | None = None
        self._poll_at = 0.0
        self.add(first)
        self._thread = threading.Thread(target=self._run, name="pgqueue wait", daemon=True)
        self._thread.start()
        running.add(self)

    # ---------------------------------------------------------------- called on any thread

    def add(self, waiter: Waiter) -> bool:
        """Adds a waiter. Returns False, and adds nothing, if this lookout is closing or has ended."""
        with self._lock:
            if self._over or self._closing:
                return False
            self._waiters.add(waiter)
            self._loop.call_soon_threadsafe(self._begin, waiter)
        return True

    def remove(self, waiter: Waiter) -> None:
        with self._lock:
            self._waiters.discard(waiter)
            if not self._over:
                self._loop.call_soon_threadsafe(self._finish, waiter)

    def close(self) -> None:
        with self._lock:
            self._closing = True
            idle = not self._waiters
            if not self._over:
                self._loop.call_soon_threadsafe(self._news.set)
        if idle and self._thread is not threading.current_thread():
            self._thread.join(ANSWER_TIMEOUT)

    # ---------------------------------------------------------------- on its own thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
        except BaseException as error:  # noqa: BLE001 - it is reported
            emit(LookoutFailed(error))
            self._tell_all(error)
        finally:
            with self._lock:
                self._over = True
            self._loop.close()

    def _begin(self, waiter: Waiter) -> None:
        if waiter.end is not None:
            waiter.timer = self._loop.call_at(waiter.end, self._time_out, waiter)
        self._new.add(waiter.job_id)
        self._news.set()

    def _finish(self, waiter: Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        if self._closing:
            self._news.set()

    def _time_out(self, waiter: Waiter) -> None:
        if waiter.seen:
            waiter.put(OVER)
        else:
            waiter.timer = self._loop.call_later(FIRST_LOOK, waiter.put, OVER)

    def _present(self) -> list[Waiter]:
        with self._lock:
            return list(self._waiters)

    def _is_over(self) -> bool:
        with self._lock:
            self._over = not self._waiters
            return self._over

    def _tell_all(self, error: BaseException) -> None:
        for waiter in self._present():
            waiter.put(error)

    async def _work(self) -> None:
        self._poll_at = 0.0
        try:
            while True:
                self._news.clear()
                if waiters := self._present():
                    await self._serve(waiters)
                elif (self._closing or not await self._stirred(LINGER)) and self._is_over():
                    return
                else:
                    self._poll_at = 0.0
        finally:
            await self._disconnect()

    async def _serve(self, waiters: list[Waiter]) -> None:
        """Reads the jobs if it is time to, then waits for news. If a new connection cannot mend an error, the waiters get the error."""
        try:
            await self._look_if_due(waiters)
            self._trouble_since = None
            self._new |= await self._read_notifications(self._poll_at)
        except MissingPrivilegeError as error:  # waiting does not help against a missing grant
            self._tell_all(may_not_read(error))
            await self._stirred(RECONNECT_AFTER)
        except Exception as error:  # noqa: BLE001 - the waiters get it
            if is_lost(error) or isinstance(error, DatabaseError | TimeoutError):
                await self._lose(error)
            else:
                self._tell_all(error)
                await self._stirred(RECONNECT_AFTER)

    async def _look_if_due(self, waiters: list[Waiter]) -> None:
        """Reads all awaited jobs every POLL seconds. In between, reads only jobs of new waiters, and jobs whose end a NOTIFY reports."""
        if self._connection is None:
            self._connection = await self._connect()
            self._poll_at = 0.0
        if monotonic() >= self._poll_at:
            self._new.clear()
            await self._ask(statements.mark_waited(3 * POLL))
            self._poll_at = monotonic() + POLL
            await self._look(waiters)
        elif self._new:
            new, self._new = self._new, set()
            if concerned := [waiter for waiter in waiters if waiter.job_id in new]:
                await self._look(concerned)

    async def _connect(self) -> AsyncConnection:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            with explained(self._dsn or " "):
                connection = await connect_async(self._dsn, name="pgqueue wait", session=ORDINARY)
                await listen(connection, FINISHED)
        return connection

    async def _ask(self, statement: Statement[T]) -> T:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await run_async(self._connection, statement)

    async def _look(self, waiters: list[Waiter]) -> None:
        """Reads the rows of all these waiters in one query, and passes each waiter its job, or OVER if the waiter's time is up."""
        by_job: dict[int, list[Waiter]] = {}
        for waiter in waiters:
            by_job.setdefault(waiter.job_id, []).append(waiter)
        watched = [job_id for job_id, them in by_job.items() if any(waiter.watched for waiter in them)]
        for job_id, job in await self._ask(statements.get_ended(list(by_job), watched)):
            for waiter in by_job[job_id]:
                if waiter.watched or job is None or job.is_final:
                    waiter.put(job)
        for waiter in waiters:
            waiter.seen = True
            if waiter.end is not None and monotonic() >= waiter.end:
                waiter.put(OVER)

    async def _read_notifications(self, until: float) -> set[int]:
        """Waits for a NOTIFY, for a change among the waiters, or until ``until``. Returns the ids of jobs whose end a NOTIFY reports."""
        assert self._connection is not None
        listening = asyncio.create_task(wait_notified(self._connection, None))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait(
                {listening, news}, timeout=max(until - monotonic(), 0), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            listening.cancel()
            news.cancel()
            await asyncio.wait({listening, news})
        if listening.cancelled():
            return set()
        return {int(payload) for payload in listening.result() if NUMBER.fullmatch(payload)}

    async def _stirred(self, seconds: float) -> bool:
        """Waits up to ``seconds`` for a new waiter or for a call of ``close``. Returns whether one of these came."""
        try:
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        except TimeoutError:
            return False

    async def _lose(self, error: BaseException) -> None:
        """Closes the broken connection. The waits end only if the server was unreachable for long, or could never be reached."""
        now = monotonic()
        if self._connection is not None and self._trouble_since is None:
            self._trouble_since = now
        await self._disconnect()
        if self._trouble_since is None or now - self._trouble_since > OUTAGE_PATIENCE:
            if not isinstance(error, DatabaseError):
                error = DatabaseUnreachableError(
                    "The database does not answer, so the wait for a job ends.", why=str(error)
                )
            self._tell_all(error)
        await asyncio.sleep(RECONNECT_AFTER)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


running: WeakSet[Lookout] = WeakSet()


@atexit.register
def _close_all() -> None:
    for lookout in list(running):
        lookout.close()
