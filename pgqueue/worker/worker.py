"""A worker: connects claimer, runner and settler, keeps the lease, and stops without losing a job.

::

    claimer ═Attempt═► runner ═Outcome═► settler ══► final row
       ▲                                    │
       └──────────── freed slots ───────────┘
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import nullcontext

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings
from pgqueue.database.dsn import redact
from pgqueue.database.outage import Outage
from pgqueue.database.statements.requests import WorkerRequest
from pgqueue.maintenance.alerting.messages import alert_tasks
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.maintenance.alerting.watch import Watch
from pgqueue.maintenance.declarations import Declarations
from pgqueue.maintenance.leader import Leader
from pgqueue.maintenance.measuring import Measuring
from pgqueue.maintenance.scheduler import MISSED_AFTER, Scheduler
from pgqueue.model.outcome import COMPLETED, FORGOTTEN
from pgqueue.model.tally import Tally
from pgqueue.model.versions import Versions
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.services import Services
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import (
    LeaseLost,
    WorkerFailed,
    WorkerOrphaned,
    WorkerQuiet,
    WorkerStarted,
    WorkerStopped,
    WorkerStopping,
    WorkerUsedUp,
)
from pgqueue.worker import forked
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.beginning import begin
from pgqueue.worker.checkpointer import Checkpointer
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.ending import Conclusion, NothingToSettle
from pgqueue.worker.exit_codes import FAILED, STOPPED, UNFINISHED
from pgqueue.worker.health import scrape
from pgqueue.worker.health.health import Subject
from pgqueue.worker.health.of_worker import signs_of_worker
from pgqueue.worker.health.thread import HealthThread
from pgqueue.worker.job_facts import emit_committed
from pgqueue.worker.lease import Lease
from pgqueue.worker.links import Links
from pgqueue.worker.listener import Listener
from pgqueue.worker.processes.channels import LineToSupervisor
from pgqueue.worker.processes.recycling import Recycling
from pgqueue.worker.reported import reported
from pgqueue.worker.running.contexts import run_alone
from pgqueue.worker.running.hook_tasks import handlers, hook_names, serving
from pgqueue.worker.running.own_loop import OwnLoop
from pgqueue.worker.running.progress_writer import ProgressWriter
from pgqueue.worker.running.pulse import Pulse
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.running.stacks import on_signal, stacks
from pgqueue.worker.settler import Settler
from pgqueue.worker.stats_writer import StatsWriter
from pgqueue.worker.stop_request import StopRequest
from pgqueue.worker.stopping import finish

LATE = 1.0  # an attempt is released if it has waited this many seconds for a slot in this worker


class Worker:
    """Claims and runs the jobs of one app until it is asked to stop.

    Child processes import the app from ``app_path`` (``module:app``). Only tasks with ``executor="process"`` need this path. ``supervisor``
    contains the file descriptors of two sockets to the process that supervises this worker (``channels.py``).
    """

    def __init__(
        self,
        app: App,
        settings: WorkerSettings,
        *,
        app_path: str | None = None,
        supervisor: tuple[int, ...] | None = None,
        alerts: AlertSettings | None = None,
    ) -> None:
        settings = serving(settings, app, alerts := alerts or AlertSettings())
        self.app, self.settings = app, settings
        app.make_room(settings.concurrency)
        self._specs = {**handlers(app), **alert_tasks(alerts)}
        versions = Versions.of(app.version, self._specs.values())
        self.id = 0
        self._dsn = app.dsn
        self._outage = Outage(self._dsn)
        links = self._links = Links(self._dsn, self._outage, settings.lease)
        self._runner = Runner(
            app, slots=settings.concurrency, executor=settings.executor, app_path=app_path,
            crash_limit=settings.crash_limit, done=self._done, specs=self._specs,
            keep_logs=settings.keep_logs,
        )  # fmt: skip
        self._checkpointer = self._runner.keeper = Checkpointer(links.steps, self._cancel, self._runner.lose)
        self._in_flight = InFlight(settings.concurrency, settings.queues, self._runner.lose)
        self._stats_writer = StatsWriter(links.claim, tally := Tally())
        self._settler = Settler(links.settle, self._free, hook_names(app), tally.settled)
        self._claimer = Claimer(
            links.claim, settings, [*sorted(self._specs), *versions.accepted], self._in_flight, self._take, self._runner.ahead,
        )  # fmt: skip
        self._progress_writer = ProgressWriter(links.claim, self._runner.running, self._checkpointer.lines)
        # The grace is at least two times a leader's lease of three heartbeats.
        scheduler = Scheduler(links.schedules, grace=max(MISSED_AFTER, 6 * settings.heartbeat))
        self._leader = Leader(
            links.claim, links.leading, links.upkeep, settings, tally, scheduler,
            Watch(links.leading, alerts, settings.heartbeat),
            Measuring(links.measuring),
        )  # fmt: skip
        self._listener = Listener(links.listen, settings.queues, self._wake_claimer, self._cancelled, self._leader.stand)  # fmt: skip
        self._declarations = Declarations(
            app.name, list(app.schedules.values()), settings.heartbeat,
            [task.spec for task in app.tasks.values()], named=app.named,
        )  # fmt: skip
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()
        self._services, self._failures = Services(), set[str]()
        self._stops = 0
        self.stop_request = StopRequest(self.stop)
        self._hurried_by: int = signal.SIGTERM
        self._pulse = Pulse(
            self._dsn, attempts=self._in_flight.attempts.values, specs=self._specs, hooks=hook_names(app),
            crash_limit=settings.crash_limit, limit=settings.blocked, lease=settings.lease, alive=self._alive,
        )  # fmt: skip
        self._lease = Lease(
            links.settle, self._outage, settings, sorted(self._specs), versions, began=self._live_as, ended=self._lose, running=self._runner.running, lost=self._runner.lose,
            asked=self._pulse.cancel, cancel=self._cancel, has_jobs=lambda: bool(len(self._in_flight)), answer=self._answer,
        )  # fmt: skip
        self._vital_signs = signs_of_worker(
            settings, self._outage, links.claim.limit, loop=self._pulse.mark, claimer=self._claimer.mark, heartbeat=self._lease.mark,
        )  # fmt: skip
        self._recycling = Recycling(settings, self._use_up)
        # Attempts after whose ends a job is perhaps due before the next poll, each with the seconds from the write of its outcome until then.
        self._again: dict[Attempt, float] = {}
        self._hears_of_cancels = False  # whether a listener reports cancels, here or in the supervisor
        self._supervisor: LineToSupervisor | None = None
        if supervisor is not None:
            self._supervisor = LineToSupervisor(
                (supervisor[0], supervisor[1]), room=self._room, wake_up=self._claimer.wake,
                cancelled=self._cancelled, vacant=self._leader.stand, stop=self.stop, orphaned=self._orphaned,
            )  # fmt: skip

    def _wake_claimer(self) -> None:
        self._claimer.pace.wake_ups_arrive = self._listener.proven.is_set()
        self._claimer.wake()

    def _cancelled(self, workers: set[int] | None) -> None:
        """Called when jobs of these workers were asked to stop. None stands for all workers.

        If this worker is among them, the heartbeat finds out which of its jobs were asked to stop.
        """
        self._hears_of_cancels |= workers is None
        if workers is None or self.id in workers:
            self._lease.look()

    def _cancel(self, job_ids: list[int]) -> None:
        self._runner.cancel(job_ids)
        # some of these jobs were just claimed, and the answer to that claim has not arrived here yet
        if not self._in_flight.attempts.keys() >= set(job_ids):
            asyncio.get_running_loop().call_later(LATE / 4, self._lease.look)

    def _room(self) -> int:
        return 0 if self._stopping.is_set() else self._in_flight.room(self._runner.ahead())

    def _take(self, attempts: list[Attempt]) -> None:
        self._stats_writer.tally.claimed(attempts)
        self._checkpointer.load_ahead(attempts)
        self._runner.take(attempts)
        if self._supervisor is not None:
            queues = {attempt.queue for attempt in attempts}
            full = not self._room() or any(self._in_flight.queue_room(queue) == 0 for queue in queues)
            self._supervisor.taken(full=full)

    def _free(self, attempts: list[Attempt]) -> None:
        self._in_flight.remove(attempts)
        self._claimer.make_room()
        if self._again:
            for delay in {self._again.pop(attempt) for attempt in attempts if attempt in self._again}:
                asyncio.get_running_loop().call_later(delay, self._claimer.look_again)
        if self._supervisor is not None:
            self._supervisor.made_room()

    def _done(self, attempt: Attempt, conclusion: Conclusion) -> None:
        if (conclusion is COMPLETED or conclusion is FORGOTTEN) and attempt.progress is None:
            self._recycling.count()
            self._settler.add(attempt, conclusion)
            return
        # The end of a node can release other nodes, for which no wake-up comes within 10 ms after another wake-up (wake.sql).
        if attempt.is_node:
            self._again[attempt] = 0.0
        if isinstance(conclusion, NothingToSettle):
            self._recycling.count()
            emit_committed(attempt, conclusion)
            if conclusion is NothingToSettle.COMMITTED:
                self._stats_writer.tally.settled([(attempt, COMPLETED)])
            self._free([attempt])
            return
        if conclusion.reason != "released":
            self._recycling.count()
        self._settler.add(attempt, attempt.with_notes(conclusion))
        if 0 < conclusion.delay < self.settings.poll:
            self._again[attempt] = conclusion.delay

    # ---------------------------------------------------------------- life

    def run(self, *, ends_process: bool = False) -> int:
        """Works until it is stopped or drained. Returns the exit code (exit_codes.py), for instance 12 if jobs were handed back.

        ``ends_process``: whether the process ends after this call. If so, signals that arrive after the end of the work are ignored,
        because they would change the exit code. If the worker cannot begin, raises a DatabaseError with the reason.
        """
        thread = HealthThread(self.settings, self._dsn, self._subject(), self._vital_signs.tick)
        with nullcontext() if self._supervisor is not None else thread:
            begin(self._dsn, self._declarations, self._lease, self.settings, self.stop_request.asked)
            return run_alone(self._work(ends_process=ends_process))

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Claims no more jobs, and lets running jobs run for at most ``grace`` more seconds. A second call hands them back immediately.

        The handlers of signals call this method.
        """
        self._stops += 1
        self._hurried_by = number
        self._drain()
        if self._stops > 1:
            self._hurry.set()
        else:
            emit(WorkerStopping(self.id, len(self._runner), self.settings.grace))

    def _drain(self) -> None:
        self._stopping.set()
        self._claimer.stop()

    def _use_up(self, why: str) -> None:
        emit(WorkerUsedUp(self.id, os.getpid(), why, self._supervisor is not None))
        self._drain() if self._supervisor is None else self._supervisor.say("replace")

    def _orphaned(self) -> None:
        if not self._stopping.is_set():
            emit(WorkerOrphaned(self.id))
        self._drain()
        self._supervisor = None

    def _signalled(self, number: int) -> None:
        """Stops the worker after a signal. A worker with a supervisor only drains, and stops when the supervisor asks it to."""
        if self._supervisor is None:
            self.stop(number)
        else:
            self._drain()

    async def _work(self, *, ends_process: bool) -> int:
        forked.begin()
        scrape.begin(self.settings.health_port)
        self._own_loop = OwnLoop(self._signalled)
        self.stop_request.begin()
        self._pulse.start()
        try:
            reports = reported(self.app, lambda worker_id: worker_id == self.id, self.settings)
            with on_signal(self._stacks), reports:
                return await self._work_watched()
        finally:
            self._pulse.stop()
            if ends_process:
                self._own_loop.close()

    def _answer(self, request: WorkerRequest) -> str:
        """Does what a person has asked for, and returns the answer. Called on the thread of the heartbeat."""
        if request == "stop":
            self._lease.call(self._use_up, "was asked to stop")
        elif request == "quiet":
            emit(WorkerQuiet(self.id))
            self._lease.drain()
            self._lease.call(self._claimer.be_quiet)
        return self._stacks() if request == "stacks" else ""

    def _stacks(self) -> str:
        return stacks(self._own_loop.loop, self._in_flight.attempts.values())

    def _alive(self) -> None:
        if self._supervisor is not None:
            self._vital_signs.tick()
            self._supervisor.say(" ".join(["alive", *self._vital_signs.silent()]))

    def _subject(self) -> Subject:
        return Subject(
            failing=self._vital_signs.failing, started=lambda: bool(self.id), at_work=lambda: self._lease.is_valid() and not self._claimer.is_quiet, draining=self._stopping.is_set,
            doing=lambda: f"worker {self.id}, {len(self._in_flight)} of {self.settings.concurrency} slots in use" if self.id else "starting",
        )  # fmt: skip

    async def _work_watched(self) -> int:
        self._lease.keep()
        background = [
            self._leader.run(), self._watch(), self._recycling.run(), self._progress_writer.run(),
            self._declarations.run(self._links.declarations), self._lease.keep_own(), self._checkpointer.run(),
            self._stats_writer.run(),
        ]  # fmt: skip
        if self._supervisor is not None:
            from pgqueue.worker.processes.metrics_sender import MetricsSender  # noqa: PLC0415 - others need none

            background += [self._supervisor.run(), MetricsSender(self._supervisor.say).run()]
        elif self.settings.listen:
            background.append(self._listener.run())
        async with self._services as services:
            for coroutine in background:
                services.begin(self._service(coroutine))
            code = await self._claim_and_settle(services)
        await self._say_goodbye()
        return FAILED if self._failures and code == STOPPED else code

    async def _claim_and_settle(self, services: Services) -> int:
        claiming = services.begin(self._service(self._claimer.run()))
        settling = services.begin(self._service(self._settler.run()))
        settings = self.settings
        emit(WorkerStarted(
            self.id, len(self.app.tasks), tuple(settings.queues), settings.concurrency, settings.executor,
            redact(self._dsn),
        ))  # fmt: skip
        drained = services.begin(self._claimer.drained.wait())
        stopping = services.begin(self._stopping.wait())
        await asyncio.wait({drained, stopping, claiming, settling}, return_when=asyncio.FIRST_COMPLETED)
        if self._supervisor is not None and drained.done():
            self._supervisor.say("drained")
        return await self._finish(claiming, settling)

    async def _service(self, coroutine: Coroutine[object, object, None]) -> None:
        """Runs a service, a coroutine that works until the worker ends. If it fails, which is a bug, logs this and drains the worker."""
        try:
            await coroutine
        except BaseException as error:
            is_cancel = isinstance(error, asyncio.CancelledError)
            if self._services.are_ending or (is_cancel and self._stopping.is_set()):
                raise
            self._fail(f"the service {getattr(coroutine, '__qualname__', '?')} failed, which is a bug", error)

    def _fail(self, why: str, error: BaseException | None = None) -> None:
        if why not in self._failures:
            self._failures.add(why)
            emit(WorkerFailed(self.id, why, FAILED, error))
            self._drain()

    def _live_as(self, worker_id: int) -> None:
        self.id = worker_id
        for part in (self._claimer, self._settler, self._leader, self._progress_writer, self._pulse):
            part.worker_id = worker_id
        if self._supervisor is not None:
            self._supervisor.say(f"registered {worker_id}")

    def _lose(self) -> None:
        """Called when the lease has run out. Every attempt is lost, and the worker registers again under another id."""
        emit(LeaseLost(self.id, len(self._in_flight)))
        self._claimer.worker_id = 0  # if a claim is being sent, its jobs no longer belong to this worker
        for link in self._links.own:
            link.cut()  # if the server did not answer on the heartbeat's connection, perhaps it does not answer here, either
        self._runner.lose()

    async def _watch(self) -> None:
        """Twice a second: checks lease and loop, releases attempts that waited too long. Looks for cancels if no listener reports them."""
        while True:
            await asyncio.sleep(LATE / 2)
            self._lease.watch()
            if why := self._own_loop.mend():
                self._fail(why)
            self._runner.release_waiting(older_than=LATE)
            longest = next(iter(self._runner.running()), None)
            is_long = longest is not None and monotonic() - longest.claimed_at > LATE / 10
            if is_long and not self._hears_of_cancels:
                self._lease.look()

    # ---------------------------------------------------------------- stopping

    async def _finish(self, claiming: asyncio.Task[None], settling: asyncio.Task[None]) -> int:
        self._claimer.stop()
        self._lease.drain()
        grace = self.settings.grace
        left = await finish(self._runner, self._settler, claiming, settling, grace=grace, hurry=self._hurry)
        if not left:
            return STOPPED
        return 128 + self._hurried_by if self._hurry.is_set() else UNFINISHED

    async def _say_goodbye(self) -> None:
        await self._stats_writer.last()
        await self._lease.end()
        await self._links.close()
        await self._leader.close()
        await self.app.leave_loop()
        emit(WorkerStopped(self.id))
