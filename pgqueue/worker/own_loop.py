"""Puts back what a handler has changed of the worker's loop, on which all others depend, or says that it cannot."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from pgqueue.worker import forked

log = logging.getLogger("pgqueue")


class OwnLoop:
    """``signalled`` is called with the number of a signal that asks for the end. To be made on the loop, in the main thread."""

    def __init__(self, signalled: Callable[[int], object]) -> None:
        self._loop, self._signalled = asyncio.get_running_loop(), signalled
        self._factory = self._loop.get_task_factory()
        self._listen()
        self._usual = {number: signal.getsignal(number) for number in forked.STOPS}

    def _listen(self) -> None:
        for number in forked.STOPS:
            self._loop.add_signal_handler(number, self._signalled, number)

    def mend(self) -> str:
        """Mends what can be mended. Returns why the loop can no longer work, or ''."""
        for number, usual in self._usual.items():
            if signal.getsignal(number) is not usual:
                name = signal.Signals(number).name
                log.error("a handler changed the handling of %s; the worker's own is back", name)
        self._listen()  # in any case: what the loop itself knows of them cannot be seen
        factory = self._loop.get_task_factory()
        if factory is not self._factory:
            self._factory = factory if factory is None or self._makes_tasks() else None
            self._loop.set_task_factory(self._factory)
        if getattr(self._loop, "_executor_shutdown_called", False):
            return "a handler has shut down the threads of the event loop"
        return ""

    def _makes_tasks(self) -> bool:
        trial = asyncio.sleep(0)
        try:
            self._loop.create_task(trial)
        except BaseException:
            trial.close()
            log.exception("a handler set a task factory that fails; it was removed")
            return False
        return True

    def close(self) -> None:
        for number in forked.STOPS:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
