"""``pgq work --processes N``: runs N workers, each in a process of its own. The supervisor wakes, restarts, replaces and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Coroutine
from functools import partial

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage, one_line
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.model.tally import Tally
from pgqueue.runtime import origin
from pgqueue.telemetry.events import Fact, emit
from pgqueue.telemetry.events.workers import (
    LeaseNotEnded,
    ProcessDied,
    ProcessNotEnded,
    ProcessNotStarted,
    ProcessSilent,
    SupervisorDeaf,
)
from pgqueue.worker.exit_codes import STOPPED
from pgqueue.worker.health.health import Subject
from pgqueue.worker.health.thread import HealthThread
from pgqueue.worker.health.vital_signs import LOOP_LIMIT, Sign, VitalSigns, said_of
from pgqueue.worker.listener import Listener
from pgqueue.worker.processes import metrics_sender
from pgqueue.worker.processes.channels import LineToWorker, WakeUpRelay
from pgqueue.worker.processes.process_seat import ProcessSeat, exit_code, is_clean, is_refusal
from pgqueue.worker.spawning import Spawned
from pgqueue.worker.stats_writer import StatsWriter

LATER = 10.0  # a worker is killed if it still runs this many seconds after its grace period
STAGGER = 2.0  # the starts of the first workers are spread over this many seconds
HEALTHY = 5.0  # a death is an early death if the worker has not worked longer than this many seconds
# The pause before the next start, in seconds: FIRST after one early death, twice as long after each further early death, at most LONGEST.
FIRST, LONGEST = 1.0, 30.0
SILENT = 10.0  # a worker is not killed for a silence of up to this many seconds, even if its lease is shorter
TICK = 1.0  # seconds between two checks for workers that send nothing
SOON = 10.0  # the time limit, in seconds, for ending the lease of a dead worker and rescuing its jobs


def supervise(count: int, dsn: str, settings: WorkerSettings) -> int:
    """Runs the same command line in ``count`` child processes. Returns the highest of their last exit codes.

    The end of a child counts as a death, even if its exit code is 0, unless the child was asked to stop, or reported that it has drained
    and then ended normally. After a death, another child is started in its place. There is one exception: no other child is started if the
    child refused its command line or configuration, and no child has ever worked in this place.
    """
    supervisor = Supervisor(count, dsn, settings)
    with HealthThread(settings, dsn, supervisor.subject(), supervisor.vital_signs.tick):
        return asyncio.run(supervisor.run())


def backoff(deaths: int) -> float:
    """Returns the seconds until the next start, after this many early deaths in a row.

    The seconds are partly random, so that workers that died at the same time do not start at the same time.
    """
    if deaths == 0:
        return random.uniform(0.0, FIRST / 2)  # noqa: S311 - jitter, not a secret
    return random.uniform(0.5, 1.0) * min(FIRST * 2.0 ** min(deaths - 1, 10), LONGEST)  # noqa: S311


def spread(limit: int | None) -> int | None:
    """Returns the limit, changed at random by up to a tenth, so that workers that started together do not reach it at the same time."""
    return None if limit is None else max(1, round(limit * random.uniform(0.9, 1.1)))  # noqa: S311


class Supervisor:
    def __init__(self, count: int, dsn: str, settings: WorkerSettings) -> None:
        self._settings, self._dsn = settings, dsn
        self._outage = Outage(dsn)
        self._link = Link(dsn, "pgqueue listen", self._outage)
        self._seats = [ProcessSeat() for _ in range(count)]
        self._relay = WakeUpRelay()
        self._listener = Listener(
            self._link, settings.queues, self._relay.wake_up, self._cancelled, self._vacant
        )
        self._has_worker = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stops = 0
        self._one_at_a_time = asyncio.Lock()
        self._wanted: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._freeing: set[asyncio.Task[None]] = set()
        self._turns = 0
        self.vital_signs = VitalSigns(Sign("loop", lambda: self._turns or None, LOOP_LIMIT))

    def subject(self) -> Subject:
        """Returns the process group as one: it lives as long as one of its workers does, because the supervisor replaces the others."""
        return Subject(
            failing=self._failing, started=self._has_worker.is_set, at_work=lambda: bool(self._at_work()), draining=self._stopping.is_set,
            doing=lambda: f"{len(self._at_work())} of {len(self._seats)} worker processes at work",
        )  # fmt: skip

    def _at_work(self) -> list[ProcessSeat]:
        return [seat for seat in self._seats if seat.at_work.is_set()]

    def _failing(self) -> tuple[str, ...]:
        """Returns what is wrong with the whole. Called on the health thread."""
        at_work = self._at_work()
        are_silent = at_work and all(seat.silent_parts or seat.silence > LOOP_LIMIT for seat in at_work)
        parts = sorted({part for seat in at_work for part in seat.silent_parts}) or ["loop"]
        return (
            *self.vital_signs.failing(),
            *(["in every worker process, " + " or ".join(map(said_of, parts))] if are_silent else []),
        )

    def _turn(self) -> None:
        self._turns += 1
        asyncio.get_running_loop().call_later(TICK, self._turn)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        self._relay.open()
        self._turn()
        if self._settings.listen:
            self._begin(self._listen())
        if self._settings.blocked:
            self._begin(self._watch())
        try:
            return max(await asyncio.gather(*(self._keep(n, seat) for n, seat in enumerate(self._seats))))
        finally:
            if self._freeing:
                await asyncio.wait(self._freeing)
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._link.close()
            self._relay.close()

    def _begin(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _listen(self) -> None:
        """Runs the listener from the moment at which the first worker is ready. Before that, there is no worker to wake."""
        await self._has_worker.wait()
        try:
            await self._listener.run()
        except Exception as error:  # noqa: BLE001 - it is logged
            emit(SupervisorDeaf(error))

    def _cancelled(self, workers: set[int] | None) -> None:
        for seat in self._seats:
            seat.tell(workers)

    def _vacant(self) -> None:
        for seat in self._seats:
            if seat.line is not None:
                seat.line.tell_vacant()

    def _said(self, seat: ProcessSeat, verb: str, *words: str) -> None:
        """Handles a message of a worker. ``verb``: its first word. ``words``: the other words."""
        match verb:
            case "registered":
                seat.worker_id = int(words[0])
            case "ready":
                seat.has_worked = True
                seat.silence = 0.0
                seat.at_work_since = asyncio.get_running_loop().time()
                seat.at_work.set()
                self._has_worker.set()
                if self._listener.proven.is_set():
                    seat.tell(None)
            case "alive":
                seat.silence = 0.0
                seat.silent_parts = words
            case "drained":
                seat.drained = True
            case "metrics":
                metrics_sender.merge(words[0])
            case "replace" if seat.child is not None and seat.child.pid not in self._wanted:
                self._wanted.add(seat.child.pid)
                self._begin(self._replace(seat, seat.child))

    # ---------------------------------------------------------------- life and death

    async def _keep(self, number: int, seat: ProcessSeat) -> int:
        """Starts a worker in this place, and starts a new worker whenever the old one must be replaced.

        Returns the last worker's exit code.
        """
        await self._pause(number * STAGGER / len(self._seats))
        deaths = 0
        try:
            while not self._stopping.is_set():
                try:
                    seat.child = child = self._start(seat)
                except OSError as error:
                    deaths += 1
                    await self._start_again(partial(ProcessNotStarted, error), deaths)
                    continue
                code = await child.wait()
                assert seat.line is not None
                seat.line.hear()  # reads its last messages
                worked, replaced, drained = seat.at_work.is_set(), seat.replacing, seat.drained
                asked = self._stopping.is_set() or replaced or drained
                if not (asked and is_clean(code)) and seat.worker_id is not None:
                    self._free_jobs(seat.worker_id, child.pid)
                seat.clear()
                self._wanted.discard(child.pid)
                if self._stopping.is_set():
                    return exit_code(code) if worked else STOPPED
                if replaced:
                    continue
                if (drained and is_clean(code)) or (not seat.has_worked and is_refusal(code)):
                    return exit_code(code)
                lived = asyncio.get_running_loop().time() - seat.at_work_since
                deaths = 0 if worked and lived > HEALTHY else deaths + 1
                await self._start_again(partial(ProcessDied, child.pid, code), deaths)
            return STOPPED
        finally:
            seat.at_work.set()  # so that ``_replace`` no longer waits for it
            if seat.line is not None:
                seat.line.close()
                seat.line = None

    async def _start_again(self, fact: Callable[[float], Fact], deaths: int) -> None:
        """Pauses before the next start. Before the pause, calls ``fact`` with its seconds, and emits the fact that ``fact`` returns."""
        pause = backoff(deaths)
        emit(fact(pause))
        await self._pause(pause)

    def _start(self, seat: ProcessSeat) -> Spawned:
        if seat.line is not None:
            seat.line.close()
        seat.line = LineToWorker(partial(self._said, seat))
        fds = (self._relay.fd, seat.line.fd)
        overruled = ["--processes", "1", "--supervisor", f"{fds[0]},{fds[1]}"]
        for name in ("max_jobs", "max_rss"):
            if (limit := spread(getattr(self._settings, name))) is not None:
                overruled += ["--" + name.replace("_", "-"), str(limit)]
        # If an option is given twice, the last value counts. So these options replace the options of the command line.
        return Spawned("pgqueue", (*origin.without_dsn(origin.ARGUMENTS), *overruled), fds)

    async def _watch(self) -> None:
        """Kills a worker that has sent nothing for longer than its lease and longer than SILENT seconds.

        Such a worker has lost its lease. If it were not killed, no other worker could take its place.
        """
        limit = max(self._settings.lease, SILENT)
        while True:
            await asyncio.sleep(TICK)
            for seat in self._seats:
                seat.silence += TICK
                if seat.child is not None and seat.at_work.is_set() and seat.silence > limit:
                    emit(ProcessSilent(seat.child.pid, seat.silence))
                    seat.silence = 0.0
                    seat.child.kill()

    def _free_jobs(self, worker_id: int, pid: int) -> None:
        freeing = self._begin(self._end_lease(worker_id, pid))
        self._freeing.add(freeing)
        freeing.add_done_callback(self._freeing.discard)

    async def _end_lease(self, worker_id: int, pid: int) -> None:
        """Ends the lease of a dead worker and rescues its jobs. Without this, the jobs would wait until the lease runs out."""
        link = Link(self._dsn, "pgqueue end lease", self._outage, limit=SOON)
        try:
            async with asyncio.timeout(SOON):
                if await link.once(statements.end_lease(worker_id, pid)):
                    tally = Tally()
                    await rescue_all(link, self._settings.crash_limit, tally)
                    await StatsWriter(link, tally).last()
        except Exception as error:  # noqa: BLE001 - it is logged
            emit(LeaseNotEnded(worker_id, one_line(error)))
        finally:
            await link.close()

    async def _pause(self, seconds: float) -> None:
        """Waits this many seconds, or until the supervisor is asked to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _replace(self, seat: ProcessSeat, child: Spawned) -> None:
        """Drains a worker that asked to be replaced, and waits until a new worker is ready in its place. Replaces one worker at a time."""
        async with self._one_at_a_time:
            if seat.child is not child or self._stopping.is_set():
                return
            seat.replacing = True
            seat.at_work.clear()
            seat.stop(signal.SIGTERM)
            if not await self._ends_in_time(child):
                emit(ProcessNotEnded(child.pid))
                child.kill()
                await child.wait()
            await seat.at_work.wait()

    async def _ends_in_time(self, child: Spawned) -> bool:
        try:
            async with asyncio.timeout(self._settings.grace + LATER):
                await child.wait()
        except TimeoutError:
            return False
        return True

    # ---------------------------------------------------------------- stopping

    def _stop(self, number: int) -> None:
        self._stops += 1
        for seat in self._seats:
            # A worker that is being replaced was already asked to stop. To such a worker, the supervisor's first signal would be the
            # second.
            if self._stops > 1 or not seat.replacing:
                seat.stop(number)
        if self._stops == 1:
            self._stopping.set()
            self._begin(self._kill_later())

    async def _kill_later(self) -> None:
        await asyncio.sleep(self._settings.grace + LATER)
        for seat in self._seats:
            if seat.child is not None:
                emit(ProcessNotEnded(seat.child.pid))
                seat.child.kill()
