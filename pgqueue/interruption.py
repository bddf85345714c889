"""What an interruption of a handler's thread must not leave halfway, such as taking a connection out of a pool.

An interruption is an exception that another thread raises here, between any two instructions: psycopg's pool loses a connection by it.
Whatever can be interrupted puts itself into ``here.thread`` (worker/threads.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol


class Interruptible(Protocol):
    def shield(self) -> None:
        """From here on an interruption waits; one that is on its way is raised now."""

    def unshield(self) -> None:
        """Raises the interruption that waits, if there is one."""


class Here(threading.local):
    thread: Interruptible | None = None


here = Here()


@contextmanager
def uninterrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Interruptions wait for the end of this block, or for a part of it in ``with gap():``, where ``gap`` is what it gives."""
    thread = here.thread
    if thread is None:
        yield nullcontext
        return
    thread.shield()
    try:
        yield partial(_gap, thread)
    finally:
        thread.unshield()


@contextmanager
def _gap(thread: Interruptible) -> Iterator[None]:
    thread.unshield()
    try:
        yield
    finally:
        thread.shield()
