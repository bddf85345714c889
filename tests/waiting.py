"""Tests wait for conditions, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


PATIENCE = 60.0  # seconds: only what never comes is waited for as long
STARTS = 180.0  # the same for what processes must start for, on a machine that is busy with other things


def wait_until(predicate: Callable[[], Value], timeout: float = PATIENCE) -> Value:
    """The first true value of ``predicate``, asked again and again."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not true after {timeout:g} s: {getattr(predicate, '__qualname__', predicate)}"
            )
        time.sleep(0.01)
    return value
