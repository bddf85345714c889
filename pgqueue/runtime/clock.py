"""The clock for every wait and deadline in pgqueue. Neither a change of the host's time nor a test that freezes time changes it.

Libraries that freeze time in tests replace ``time.monotonic`` in each module that has imported it. Such a clock stands still, so a wait
that is measured by it would never end. Therefore ``monotonic`` here is another object, which these libraries do not replace. Times in the
database come from the database's clock.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

if hasattr(time, "clock_gettime"):
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # Windows
    monotonic = partial(time.monotonic)


def moment_in(left: float | None) -> float | None:
    """Returns the time of the clock ``time.monotonic`` at which these seconds are over. None if ``left`` is None.

    It is never too early, because the database counted the seconds before its answer arrived here.
    """
    return None if left is None else monotonic() + left


class ServerTime:
    """The database's time: the time that the last ``tell`` got, plus the seconds since then.

    Before the first ``tell``, it is the host's time.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None  # seconds from ``monotonic()`` to the database's time

    def tell(self, epoch: float) -> None:
        self._ahead = epoch - monotonic()

    def now(self) -> float:
        return time.time() if self._ahead is None else self._ahead + monotonic()


server_time = ServerTime()


class Loop(asyncio.SelectorEventLoop):
    """An event loop with ``monotonic`` as its clock."""

    def time(self) -> float:
        return monotonic()


def new_loop() -> asyncio.AbstractEventLoop:
    """Returns a loop of the kind that the program has chosen. If it is one of asyncio's, its clock is ``monotonic``."""
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        loop.time = monotonic  # type: ignore[method-assign]
    return loop
