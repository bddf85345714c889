"""A worker process: wires claimer, runner and settler together, keeps its lease, and stops without losing anything.

::

    claimer ═Attempt═► runner ═Outcome═► settler ══► final row
       ▲                                    │
       └──────────── freed slots ───────────┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pgqueue
from pgqueue import statements
from pgqueue.alerts import QUEUE, AlertSettings, alert_tasks
from pgqueue.app import App
from pgqueue.config import WorkerSettings, redact
from pgqueue.connections import Link, Outage, retry_connecting
from pgqueue.database import CLAIMING, ORDINARY, connect, run
from pgqueue.maintenance.leader import Leader
from pgqueue.maintenance.partitions import AHEAD
from pgqueue.maintenance.watch import Watch
from pgqueue.migrate import check_server
from pgqueue.outcome import Outcome
from pgqueue.worker.attempt import Attempt, InFlight
from pgqueue.worker.claimer import Claimer
from pgqueue.worker.handlers import handlers, hook_names
from pgqueue.worker.heartbeat import Heartbeat
from pgqueue.worker.limits import Limits
from pgqueue.worker.listener import Listener
from pgqueue.worker.relay import Supervised
from pgqueue.worker.runner import Runner
from pgqueue.worker.settler import Settler

log = logging.getLogger("pgqueue")

STOPPED, UNFINISHED = 0, 12
LATE = 1.0  # seconds an attempt claimed ahead may wait for its turn


class Worker:
    """Claims and runs the jobs of one app until it is told to stop.

    ``app_path`` (``module:app``) is what child processes import; only ``executor="process"`` needs it. ``supervisor`` is
    the file descriptor of a socket to the process that supervises this one, see ``relay.py``.
    """

    def __init__(
        self,
        app: App,
        settings: WorkerSettings,
        *,
        app_path: str | None = None,
        supervisor: int | None = None,
        alerts: AlertSettings | None = None,
    ) -> None:
        alerts = alerts or AlertSettings()
        messages = alert_tasks(alerts)  # whoever can send them serves their queue too
        if messages:
            settings = replace(settings, queues={QUEUE: None, **settings.queues})
        self.app, self.settings = app, settings
        self._specs = {**handlers(app), **messages}
        self.id = 0
        self._dsn = app.dsn
        self._outage = Outage(self._dsn)
        self._in_flight = InFlight(settings.concurrency, settings.queues)
        self._claim_link = Link(self._dsn, "pgqueue claim", self._outage, session=CLAIMING)
        self._settle_link = Link(self._dsn, "pgqueue settle", self._outage)
        self._listen_link = Link(self._dsn, "pgqueue listen", self._outage)
        self._runner = Runner(
            app, slots=settings.concurrency, executor=settings.executor, app_path=app_path,
            crash_limit=settings.crash_limit, done=self._done, specs=self._specs,
        )  # fmt: skip
        self._settler = Settler(self._settle_link, self._free, hook_names(app))
        self._claimer = Claimer(
            self._claim_link,
            settings,
            sorted(self._specs),
            self._in_flight,
            self._take,
            self._runner.prefetch,
        )
        self._listener = Listener(self._listen_link, settings.queues, self._heard)
        self._leader = Leader(
            self._claim_link,
            Link(self._dsn, "pgqueue leader", self._outage),
            Link(self._dsn, "pgqueue upkeep", self._outage, session=ORDINARY),
            Watch(Link(self._dsn, "pgqueue watch", self._outage), alerts, settings.heartbeat),
            settings,
        )
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._signals = 0
        self._hurried_by: int = signal.SIGTERM
        self._registering: asyncio.Task[None] | None = None
        self._limits = Limits(settings, self._use_up)
        self._supervised: Supervised | None = None
        if supervisor is not None:
            self._supervised = Supervised(
                supervisor, room=self._room, wake_up=self._claimer.wake, orphaned=self._orphaned
            )

    def _heard(self) -> None:
        self._claimer.heard = self._listener.proven.is_set()
        self._claimer.wake()

    def _room(self) -> int:
        return 0 if self._stopping.is_set() else self._in_flight.room(self._runner.prefetch())

    def _take(self, attempts: list[Attempt]) -> None:
        self._runner.take(attempts)
        if self._supervised is not None:
            full = not self._room() or any(
                self._in_flight.queue_room(attempt.queue) == 0 for attempt in attempts
            )
            self._supervised.taken(full=full)

    def _free(self, attempts: list[Attempt]) -> None:
        self._in_flight.remove(attempts)
        self._claimer.make_room()
        if self._supervised is not None:
            self._supervised.made_room()

    def _done(self, attempt: Attempt, outcome: Outcome | None) -> None:
        if outcome is None or outcome.reason != "released":
            self._limits.count()
        if outcome is None:
            self._free([attempt])
        else:
            self._settler.add(attempt, outcome)
            if 0 < outcome.delay < self.settings.poll:
                asyncio.get_running_loop().call_later(outcome.delay, self._claimer.wake_up.set)

    # ---------------------------------------------------------------- life

    def run(self) -> int:
        """Works until stopped or drained; returns the exit code: 0, or 12 if jobs had to be handed back unfinished.

        Raises the DatabaseError that says why it cannot begin.
        """
        for attempt in retry_connecting(self.settings.wait_for_db):
            with attempt, connect(self._dsn) as connection:
                check_server(connection)
                run(connection, statements.add_partitions(AHEAD))
        return asyncio.run(self._work())

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Takes no more, finishes what runs within ``grace``; a second call hands it back now. For signal handlers."""
        self._signals += 1
        self._hurried_by = number
        self._drain()
        if self._signals > 1:
            self._hurry.set()
        elif len(self._runner):
            log.info(
                "stopping: %d running jobs have %g s to finish; a second signal hands them back at once",
                len(self._runner),
                self.settings.grace,
            )

    def _drain(self) -> None:
        self._stopping.set()
        self._claimer.stop()

    def _use_up(self, why: str) -> None:
        if self._supervised is None:
            log.info("worker %d %s; it drains and exits", self.id, why)
            self._drain()
        else:
            log.info("worker %d (pid %d) %s; it will be drained and replaced", self.id, os.getpid(), why)
            self._supervised.ask_replacement()

    def _orphaned(self) -> None:
        if not self._stopping.is_set():
            log.error("worker %d: its supervisor is gone; it drains and exits", self.id)
        self._drain()

    async def _work(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number)
        self._heartbeat = Heartbeat(
            self._dsn, self._outage, every=self.settings.heartbeat, lease=self.settings.lease,
            lost=lambda: loop.call_soon_threadsafe(self._lose),
            cancel=lambda ids: loop.call_soon_threadsafe(self._runner.cancel, ids),
        )  # fmt: skip
        await self._register()
        background = [self._leader.run(), self._watch(), self._limits.run()]
        if self._supervised is not None:
            background.append(self._supervised.run())
        elif self.settings.listen:
            background.append(self._listener.run())
        services = [asyncio.create_task(self._service(coroutine)) for coroutine in background]
        claiming = asyncio.create_task(self._claimer.run())
        settling = asyncio.create_task(self._settler.run())
        log.info(
            "worker %d: %d tasks, queues %s, %d slots, %s, %s",
            self.id, len(self.app.tasks), ",".join(self.settings.queues), self.settings.concurrency,
            self.settings.executor, redact(self._dsn),
        )  # fmt: skip
        drained = asyncio.create_task(self._claimer.drained.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({drained, stopping, claiming, settling}, return_when=asyncio.FIRST_COMPLETED)
        for crashed in (claiming, settling):
            if crashed.done() and not self._stopping.is_set():
                crashed.result()
        code = await self._finish(claiming, settling)
        for task in (*services, drained, stopping):
            task.cancel()
        await asyncio.gather(*services, drained, stopping, return_exceptions=True)
        await self._say_goodbye()
        return code

    async def _service(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """A failing service is a bug that must not go unseen, nor take the jobs with it."""
        try:
            await coroutine
        except Exception:
            log.exception("a service of the worker failed, which is a bug; the worker stops")
            self.stop()

    async def _register(self) -> None:
        settings = self.settings
        self.id = await self._settle_link.run(
            statements.register_worker(
                host=socket.gethostname(), pid=os.getpid(), version=pgqueue.__version__, executor=settings.executor,
                slots=settings.concurrency, queues=list(settings.queues), tasks=sorted(self._specs),
                lease_seconds=settings.lease,
            )
        )  # fmt: skip
        self._claimer.worker_id = self._settler.worker_id = self._leader.worker_id = self.id
        self._heartbeat.start(self.id)

    def _lose(self) -> None:
        """The lease ran out: every job is lost, and the worker starts anew under another id."""
        if self._registering is not None and not self._registering.done():
            return
        log.error(
            "worker %d lost its lease; it gives up %d jobs and registers anew", self.id, len(self._in_flight)
        )
        self._runner.lose()
        self._registering = asyncio.get_running_loop().create_task(self._register())

    async def _watch(self) -> None:
        """Hands back what was claimed ahead and waits behind jobs that turned out long."""
        while True:
            await asyncio.sleep(LATE / 2)
            self._runner.release_waiting(older_than=LATE)

    # ---------------------------------------------------------------- stopping

    async def _finish(self, claiming: asyncio.Task[None], settling: asyncio.Task[None]) -> int:
        self._claimer.stop()
        self._heartbeat.state = "draining"
        code = STOPPED
        try:
            async with asyncio.timeout(self.settings.grace):
                await asyncio.wait({claiming})
                self._runner.release_waiting()
                idle = asyncio.create_task(self._runner.wait_idle())
                hurry = asyncio.create_task(self._hurry.wait())
                await asyncio.wait({idle, hurry}, return_when=asyncio.FIRST_COMPLETED)
                idle.cancel()
                hurry.cancel()
        except TimeoutError:
            pass
        claiming.cancel()
        self._runner.release_waiting()
        left = self._runner.release_running()
        if left:
            code = UNFINISHED if not self._hurry.is_set() else 128 + self._hurried_by
            log.warning("%d jobs were still running and are handed back", left)
        try:
            async with asyncio.timeout(2.0):
                await self._runner.wait_idle()
                self._settler.stop()
                await settling
        except TimeoutError:
            settling.cancel()
            log.warning("the database did not take the last outcomes in time; those jobs will run again")
        await asyncio.gather(claiming, settling, return_exceptions=True)
        self._runner.close()
        return code

    async def _say_goodbye(self) -> None:
        self._heartbeat.stop()
        try:
            async with asyncio.timeout(1.0):
                await self._settle_link.once(statements.stop_worker(self.id))
        except Exception as error:  # noqa: BLE001 - its lease runs out by itself
            log.warning("the worker could not say goodbye: %s", error)
        for link in (self._claim_link, self._settle_link, self._listen_link):
            await link.close()
        await self._leader.close()
        log.info("worker %d stopped", self.id)
