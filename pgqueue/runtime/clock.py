"""The clock of every wait and deadline here: neither a change of the host's clock moves it, nor a test that freezes time.

Libraries for tests put a clock of their own into each module that knows ``time.monotonic`` by its name, so that a wait measured by
it never ends. Moments that are stored are the database's.
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
    """The database's time of day, as it was last told; the host's until then."""

    def __init__(self) -> None:
        self._ahead: float | None = None  # of the clock above

    def tell(self, epoch: float) -> None:
        self._ahead = epoch - monotonic()

    def now(self) -> float:
        return time.time() if self._ahead is None else self._ahead + monotonic()


server_time = ServerTime()


class Loop(asyncio.SelectorEventLoop):
    """An event loop on this clock."""

    def time(self) -> float:
        return monotonic()


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of the kind that the program has chosen, on this clock. Others than asyncio's have clocks of their own."""
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        loop.time = monotonic  # type: ignore[method-assign]
    return loop
