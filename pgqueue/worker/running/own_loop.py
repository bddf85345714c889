"""Undoes changes that handlers have made to the worker's event loop, on which all other handlers depend.

Reports the changes that cannot be undone.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import ExecutorShutDown, SignalTaken, TaskFactoryFailed
from pgqueue.worker import forked


class OwnLoop:
    """``signalled`` is called with the number of a signal that asks the worker to stop. Create this object on the loop.

    On another thread than the main thread, signals are the business of the program in which the worker is embedded.
    """

    def __init__(self, signalled: Callable[[int], object]) -> None:
        self.loop, self._signalled = asyncio.get_running_loop(), signalled
        self._factory = self.loop.get_task_factory()
        self._trial: asyncio.Future[int] | None = None
        self._signals = forked.STOPS if threading.current_thread() is threading.main_thread() else ()
        self._listen()
        self._usual = {number: signal.getsignal(number) for number in self._signals}

    def _listen(self) -> None:
        for number in self._signals:
            self.loop.add_signal_handler(number, self._signalled, number)

    def mend(self) -> str:
        """Undoes changes to the handling of signals, the task factory and the executor.

        Returns the reason why the loop can no longer work, or '' if it can work.
        """
        for number, usual in self._usual.items():
            if signal.getsignal(number) is not usual:
                emit(SignalTaken(signal.Signals(number).name))
        self._listen()  # always, because nothing shows whether the loop still has its signal handlers
        factory = self.loop.get_task_factory()
        if factory is not self._factory:
            self._factory = factory if factory is None or self._makes_tasks() else None
            self.loop.set_task_factory(self._factory)
        if self._has_threads():
            return ""
        self.loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        if not self._has_threads():
            return "a handler has shut down the threads of the event loop"
        emit(ExecutorShutDown())
        return ""

    def _has_threads(self) -> bool:
        """Returns whether the loop's executor accepts work. Tries this with a small function, but only if the last trial has ended."""
        if self._trial is None or self._trial.done():
            try:
                self._trial = self.loop.run_in_executor(None, int)
            except BaseException:  # noqa: BLE001 - a handler can have set an executor that raises any exception
                return False
        return True

    def _makes_tasks(self) -> bool:
        trial = asyncio.sleep(0)
        try:
            self.loop.create_task(trial)
        except BaseException as error:  # noqa: BLE001 - it is logged
            trial.close()
            emit(TaskFactoryFailed(error))
            return False
        return True

    def close(self) -> None:
        for number in self._signals:
            self.loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
