"""The thread that answers probes and tells systemd. It has a loop of its own, so it goes on while a handler blocks the worker's loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pgqueue.config import WorkerSettings
from pgqueue.runtime.clock import new_loop
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import HealthFailed, HealthServed, PartSilent, PartTurns
from pgqueue.worker.forked import Ends
from pgqueue.worker.health.health import Health, Subject
from pgqueue.worker.health.server import HealthServer, listening
from pgqueue.worker.health.systemd import Notifier
from pgqueue.worker.health.vital_signs import TICK

GOODBYE = 2.0  # the end of the process waits at most this many seconds for this thread


class HealthThread:
    """Works for the duration of a ``with`` block, if the settings or systemd ask for it. Otherwise no thread is started.

    ``tick`` is called every TICK seconds: it looks at the vital signs. If the port cannot be opened, raises InvalidSettingError.
    """

    def __init__(
        self, settings: WorkerSettings, dsn: str, subject: Subject, tick: Callable[[], object]
    ) -> None:
        self._settings, self._tick = settings, tick
        self._health = Health(subject, dsn)
        self._silent: frozenset[str] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        port, host = self._settings.health_port, self._settings.health_host
        self._listener = None if port is None else listening(host, port)
        self._notifier = Notifier()
        if self._listener is not None:
            self._ends = Ends(self._listener)  # a process that a handler forks must not keep the port
            emit(HealthServed(host, self._listener.getsockname()[1]))
        if self._listener is not None or self._notifier.is_wanted:
            self._thread = threading.Thread(target=self._run, name="pgqueue health", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(main.cancel)
        if self._thread is not None:
            self._thread.join(GOODBYE)
            self._notifier.tick(self._health)  # a drain can be over before the thread has seen it
        if self._listener is not None:
            self._listener.close()
        self._notifier.close()

    # ---------------------------------------------------------------- on the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner, contextlib.suppress(asyncio.CancelledError):
                runner.run(self._work())
        except Exception as error:  # noqa: BLE001 - it is logged
            emit(HealthFailed(error))

    async def _work(self) -> None:
        self._main, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._ending.is_set():
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            if self._listener is not None:
                tasks.create_task(HealthServer(self._health).serve(self._listener))

    async def _look(self) -> None:
        while True:
            self._tick()
            self._notifier.tick(self._health)
            self._tell_changes(frozenset(self._health.subject.failing()))
            await asyncio.sleep(TICK)

    def _tell_changes(self, silent: frozenset[str]) -> None:
        for part in sorted(silent - self._silent):
            emit(PartSilent(part))
        for part in sorted(self._silent - silent):
            emit(PartTurns(part))
        self._silent = silent
