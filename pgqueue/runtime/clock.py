"""The clock of every wait and deadline in pgqueue. A change of the host's clock does not move it, nor does a test that freezes time.

Libraries for tests put a frozen clock into each module that knows ``time.monotonic`` by its name. A wait measured by a frozen clock
would never end. Stored moments come from the database's clock.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

if hasattr(time, "clock_gettime"):
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # Windows
    monotonic = partial(time.monotonic)


class ServerTime:
    """The database's time of day, counted on from the last ``tell``. Before the first ``tell``, the host's time of day."""

    def __init__(self) -> None:
        self._ahead: float | None = None  # seconds from ``monotonic()`` to the database's time

    def tell(self, epoch: float) -> None:
        self._ahead = epoch - monotonic()

    def now(self) -> float:
        return time.time() if self._ahead is None else self._ahead + monotonic()


server_time = ServerTime()


class Loop(asyncio.SelectorEventLoop):
    """An event loop that takes its time from ``monotonic``."""

    def time(self) -> float:
        return monotonic()


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that the program has chosen, with its time from ``monotonic``. A loop that is not asyncio's keeps its own clock."""
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        loop.time = monotonic  # type: ignore[method-assign]
    return loop
