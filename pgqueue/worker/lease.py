"""A worker's lease on its jobs. If the worker loses its lease, it registers again, and gets another lease under another worker id.

The heartbeat renews the lease on a thread of its own. This module runs on the loop, and compares the end of the lease with the clock twice
a second. So the worker soon notices the end of its lease, even if the heartbeat still waits for an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Collection
from functools import partial

from psycopg import Connection

import pgqueue
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage, Trouble, one_line
from pgqueue.database.run import run
from pgqueue.database.statements.requests import WorkerRequest
from pgqueue.model.versions import UNVERSIONED, Versions
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.runtime.services import hidden_task
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import ClaimsForgotten
from pgqueue.telemetry.events.workers import GoodbyeFailed
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.heartbeat import Heartbeat

FAREWELL = 1.0  # the time limit, in seconds, for each of the last statements of a stopping worker


class Lease:
    """Keeps a lease, and calls four functions on the loop.

    - ``began`` when the worker has got a lease, with the worker's id;
    - ``ended`` when the lease is over;
    - ``lost`` with attempts whose claims the server has lost;
    - ``cancel`` with the ids of jobs that were asked to stop.

    ``asked`` is called with the same ids as ``cancel``, but on another thread, because the loop can be blocked. ``running`` returns the
    attempts that run.
    """

    def __init__(
        self,
        link: Link,
        outage: Outage,
        settings: WorkerSettings,
        tasks: list[str],
        versions: Versions = UNVERSIONED,
        *,
        began: Callable[[int], object],
        ended: Callable[[], object],
        running: Callable[[], Collection[Attempt]],
        lost: Callable[[list[Attempt]], object],
        asked: Callable[[list[int]], object],
        cancel: Callable[[list[int]], object],
        has_jobs: Callable[[], bool],
        answer: Callable[[WorkerRequest], str] | None = None,
    ) -> None:
        self._link, self._settings, self._tasks, self._versions = link, settings, tasks, versions
        self._began, self._ended, self._running, self._lose_attempts = began, ended, running, lost
        self._heartbeat = Heartbeat(
            outage,
            every=settings.heartbeat,
            lease=settings.lease,
            lost=partial(self.call, self.lose),
            cancel=partial(self._cancel, asked, cancel),
            has_jobs=has_jobs,
            answer=answer,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Task[None] | None = None
        self._doubt = asyncio.Event()
        self._id, self._asked = 0, 0.0
        outage.reconnected = partial(self.call, self._doubt.set)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Calls a function on the loop, from any thread. If the loop has ended, does nothing."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *args)

    def _cancel(
        self, asked: Callable[..., object], cancel: Callable[..., object], job_ids: list[int]
    ) -> None:
        asked(job_ids)
        self.call(cancel, job_ids)

    # ---------------------------------------------------------------- taking and keeping

    def _registration(self) -> Statement[int | None]:
        settings = self._settings
        return statements.register_worker(
            host=socket.gethostname(), pid=os.getpid(), version=pgqueue.__version__, executor=settings.executor,
            slots=settings.concurrency, queues=list(settings.queues), tasks=self._tasks, lease_seconds=settings.lease,
            queue_slots=list(settings.queues.values()), versions=self._versions,
        )  # fmt: skip

    def take(self, connection: Connection) -> None:
        """Asks for the first lease, before the loop begins."""
        self._id = 0
        while not self._id:
            self._asked = monotonic()
            self._id = run(connection, self._registration()) or 0
        server_time.tell(run(connection, statements.read_clock()))

    def keep(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began(self._id)
        self._heartbeat.start(self._id, self._asked)

    def mark(self) -> int | None:
        """Returns a number that grows as long as the heartbeat turns. None while it rests. Any thread can call it."""
        return self._heartbeat.mark()

    def is_valid(self) -> bool:
        """Returns whether the worker has a lease now, by the clock. Any thread can call it."""
        return monotonic() < self._heartbeat.expires

    def watch(self) -> None:
        """Ends the lease if it has run out by the clock. The worker calls this twice a second."""
        if monotonic() > self._heartbeat.expires:
            self.lose(self._id)

    def lose(self, worker_id: int) -> None:
        if worker_id == self._id and (self._again is None or self._again.done()):
            self._heartbeat.stop()
            self._ended()
            self._again = hidden_task(self._take_again())

    async def _take_again(self) -> None:
        trouble, worker_id = Trouble("the registration of the worker"), None
        while not worker_id:
            asked = monotonic()
            try:
                worker_id = await self._link.once(self._registration())
                server_time.tell(await self._link.once(statements.read_clock()))
            except Exception as error:  # noqa: BLE001 - it is logged
                await asyncio.sleep(trouble.after(error))
        self._id, self._asked = worker_id, asked
        self.keep()

    # ---------------------------------------------------------------- the attempts under the lease

    async def keep_own(self) -> None:
        """Whenever a connection was replaced, stops the attempts that no longer belong to this worker. Runs until it is cancelled.

        A connection can break because the server crashed, or because another server took its place. In both cases, the database has perhaps
        lost some claims, although the lease still holds.
        """
        trouble = Trouble("the check that running jobs are still this worker's")
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self._stop_lost()
                trouble.over()
            except Exception as error:  # noqa: BLE001 - it is logged
                await asyncio.sleep(trouble.after(error))
                self._doubt.set()

    async def _stop_lost(self) -> None:
        ours = {attempt.id: attempt for attempt in self._running() if attempt.worker_id == self._id}
        if not ours:
            return
        leases = [(attempt.id, attempt.lease_id) for attempt in ours.values()]
        gone = await self._link.once(statements.find_lost_attempts(self._id, leases))
        if gone:
            emit(ClaimsForgotten(tuple(gone)))
            self._lose_attempts([ours[job_id] for job_id in gone])

    def look(self) -> None:
        """Makes the heartbeat look for cancels soon. If there are any, ``cancel`` is called."""
        self._heartbeat.look()

    def drain(self) -> None:
        """Makes the next heartbeat write into the worker's row that the worker takes no more jobs."""
        self._heartbeat.state = "draining"

    async def end(self) -> None:
        """Called when the worker stops. Ends the lease now, so that jobs which the worker could not hand back are rescued without delay."""
        if self._again is not None:
            self._again.cancel()
        self._heartbeat.stop(FAREWELL)
        self._link.limit = FAREWELL
        try:
            await self._link.once(statements.stop_worker(self._id))
        except Exception as error:  # noqa: BLE001 - without this statement, the lease runs out later
            emit(GoodbyeFailed(self._id, one_line(error)))
