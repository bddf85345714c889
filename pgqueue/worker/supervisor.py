"""``pgq work --processes N``: N workers, each a process of its own, woken, kept alive, replaced and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine
from typing import Any

from pgqueue.config import WorkerSettings
from pgqueue.connections import Link, Outage
from pgqueue.worker.listener import Listener
from pgqueue.worker.relay import Line, Relay

LATER = 10.0  # seconds after the grace until a worker that hangs is killed
STAGGER = 2.0  # seconds within which the first workers are started
HEALTHY = 5.0  # seconds: a worker that lived that long died of something of the moment
FIRST, LONGEST = 1.0, 30.0  # seconds until one that died younger is started again
BY_ITSELF = {
    0,
    12,
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
}  # drained, or stopped by a signal that it got alone

log = logging.getLogger("pgqueue")


def supervise(count: int, dsn: str, settings: WorkerSettings) -> int:
    """Runs the same command line in ``count`` children; returns their highest exit code.

    A child that dies by a signal or a bug is started again; one that ends by itself (drained, misconfigured) is not,
    except in the place of one that has worked: then what is wrong now was right before, and may be again.
    """
    return asyncio.run(Supervisor(count, dsn, settings).run())


def backoff(deaths: int) -> float:
    """Seconds until the next start after so many early deaths in a row; spread, so that what died as one starts apart."""
    if deaths == 0:
        return random.uniform(0.0, FIRST / 2)  # noqa: S311 - jitter, not a secret
    return random.uniform(0.5, 1.0) * min(FIRST * 2.0 ** min(deaths - 1, 10), LONGEST)  # noqa: S311


def spread(limit: int | None) -> int | None:
    """The limit give or take a tenth, so that workers of the same age do not reach theirs together."""
    return None if limit is None else max(1, round(limit * random.uniform(0.9, 1.1)))  # noqa: S311


class Place:
    """Room for one worker process: whoever dies in it is followed by another."""

    def __init__(self) -> None:
        self.child: Process | None = None
        self.line: Line | None = None
        self.at_work = asyncio.Event()
        self.at_work_since = 0.0  # by the loop's clock
        self.has_worked = False
        self.replacing = False

    def send(self, number: int) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(number)

    def tell(self, workers: set[int] | None) -> None:
        """Of jobs to stop."""
        if self.line is not None:
            self.line.tell(workers)


class Supervisor:
    def __init__(self, count: int, dsn: str, settings: WorkerSettings) -> None:
        self._settings = settings
        self._link = Link(dsn, "pgqueue listen", Outage(dsn))
        self._places = [Place() for _ in range(count)]
        self._relay = Relay(self._said)
        self._listener = Listener(
            self._link, settings.queues, self._relay.wake_up, self._cancelled, self._vacant
        )
        self._anybody = asyncio.Event()
        self._stopping = asyncio.Event()
        self._signals: list[int] = []
        self._one_at_a_time = asyncio.Lock()
        self._wanted: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        self._relay.open()
        if self._settings.listen:
            self._begin(self._listen())
        try:
            return max(await asyncio.gather(*(self._keep(n, place) for n, place in enumerate(self._places))))
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._link.close()
            self._relay.close()

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        """Begins when somebody is at work, who could be woken."""
        await self._anybody.wait()
        try:
            await self._listener.run()
        except Exception:
            log.exception("the supervisor's listener failed, which is a bug; jobs are found by polling")

    def _cancelled(self, workers: set[int] | None) -> None:
        for place in self._places:
            place.tell(workers)

    def _vacant(self) -> None:
        for place in self._places:
            if place.line is not None:
                place.line.tell_vacant()

    def _said(self, verb: str, pid: int) -> None:
        """A worker's message."""
        for place in self._places:
            if place.child is not None and place.child.pid == pid:
                if verb == "ready":
                    place.has_worked = True
                    place.at_work_since = asyncio.get_running_loop().time()
                    place.at_work.set()
                    self._anybody.set()
                    if self._listener.proven.is_set():
                        place.tell(None)
                elif verb == "replace" and pid not in self._wanted:
                    self._wanted.add(pid)
                    self._begin(self._replace(place, place.child))

    # ---------------------------------------------------------------- life and death

    async def _keep(self, number: int, place: Place) -> int:
        """Keeps a worker in this place until one ends for good; returns the exit code of the last."""
        loop = asyncio.get_running_loop()
        await self._pause(number * STAGGER / len(self._places))
        deaths = 0
        try:
            while not self._stopping.is_set():
                place.child = child = await self._start(place)
                for _ in self._signals:  # that came while it was being started
                    place.send(self._signals[-1])
                code = await child.wait()
                worked, replaced = place.at_work.is_set(), place.replacing
                place.at_work.clear()
                place.child, place.replacing = None, False
                self._wanted.discard(child.pid)
                if self._stopping.is_set() and not worked:
                    return 0
                if self._stopping.is_set() or not (replaced or self._is_started_again(place, code)):
                    return code if code >= 0 else 128 - code
                if replaced:
                    continue
                deaths = 0 if worked and loop.time() - place.at_work_since > HEALTHY else deaths + 1
                pause = backoff(deaths)
                log.error(
                    "a worker process (pid %d) died with %d and is started again in %.1f s",
                    child.pid, code, pause,
                )  # fmt: skip
                await self._pause(pause)
            return 0
        finally:
            place.at_work.set()  # nobody need wait for it any more
            if place.line is not None:
                place.line.close()
                place.line = None

    @staticmethod
    def _is_started_again(place: Place, code: int) -> bool:
        return code < 0 or code == 1 or (place.has_worked and code not in BY_ITSELF)

    async def _start(self, place: Place) -> Process:
        if place.line is not None:
            place.line.close()
        place.line = Line()
        fds = (self._relay.fd, place.line.fd)
        overruled = ["--processes", "1", "--supervisor", f"{fds[0]},{fds[1]}"]
        for name in ("max_jobs", "max_rss"):
            if (limit := spread(getattr(self._settings, name))) is not None:
                overruled += ["--" + name.replace("_", "-"), str(limit)]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pgqueue", *sys.argv[1:], *overruled,  # the last of two options counts
            pass_fds=fds, start_new_session=True,  # a Ctrl-C is the supervisor's to hand on
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        """Unless it is told to stop meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _replace(self, place: Place, child: Process) -> None:
        """Drains a worker that asked for it, and waits until another works in its place. One after the other."""
        async with self._one_at_a_time:
            if place.child is not child or self._stopping.is_set():
                return
            place.replacing = True
            place.at_work.clear()
            place.send(signal.SIGTERM)
            if not await self._ends_in_time(child):
                log.error("a worker process (pid %d) does not end after its grace and is killed", child.pid)
                place.send(signal.SIGKILL)
                await child.wait()
            await place.at_work.wait()

    async def _ends_in_time(self, child: Process) -> bool:
        try:
            async with asyncio.timeout(self._settings.grace + LATER):
                await child.wait()
        except TimeoutError:
            return False
        return True

    # ---------------------------------------------------------------- stopping

    def _stop(self, number: int) -> None:
        for place in self._places:
            if (
                self._signals or not place.replacing
            ):  # that one is draining already: this would be its second signal
                place.send(number)
        if not self._signals:
            self._stopping.set()
            self._begin(self._kill_later())
        self._signals.append(number)

    async def _kill_later(self) -> None:
        await asyncio.sleep(self._settings.grace + LATER)
        for place in self._places:
            if place.child is not None:
                log.error(
                    "a worker process (pid %d) does not end after its grace and is killed", place.child.pid
                )
                place.send(signal.SIGKILL)
