"""Tests wait for conditions, never for time to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


PATIENCE = 60.0  # a test fails if its condition is not true after this many seconds
# The same limit for a test that starts processes, because a busy machine starts them slowly.
STARTS = 180.0


def wait_until(predicate: Callable[[], Value], timeout: float = PATIENCE) -> Value:
    """Calls ``predicate`` again and again, and returns its first true value."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not true after {timeout:g} s: {getattr(predicate, '__qualname__', predicate)}"
            )
        time.sleep(0.01)
    return value


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Returns as soon as ``condition`` is true, and lets the event loop go on meanwhile."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.001)
