"""The clock of every wait and deadline here: one that a host's clock change does not move, nor a test that freezes time.

Libraries for tests put a clock of their own into each module that knows ``time.monotonic`` by its name, so that a wait measured by
it never ends. Moments that are stored are the database's.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from functools import partial

if hasattr(time, "clock_gettime"):
    monotonic = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # Windows
    monotonic = partial(time.monotonic)


class Loop(asyncio.SelectorEventLoop):
    """An event loop on this clock."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())

    def time(self) -> float:
        return monotonic()
