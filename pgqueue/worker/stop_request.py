"""A stop that any thread can ask for, also before the work of the worker has begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class StopRequest:
    """Calls ``stop`` once, on the loop of the worker. ``asked``: whether a thread has asked for it."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self.asked = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_done = False

    def ask(self) -> None:
        """Any thread can call this."""
        self.asked.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the work has ended
                self._loop.call_soon_threadsafe(self._act)

    def begin(self) -> None:
        """Called on the loop when the worker can be stopped."""
        self._loop = asyncio.get_running_loop()
        self._act()

    def _act(self) -> None:
        if self.asked.is_set() and not self._is_done:
            self._is_done = True
            self._stop()
