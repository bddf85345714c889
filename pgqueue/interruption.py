"""Where an interruption of a handler's thread would do harm: halfway in a pool, and on a loop.

An interruption is an exception that another thread raises here, between any two instructions. psycopg's pool loses a connection by
it, and a loop goes on with the task that it was to end. Whatever can be interrupted puts itself into ``here.thread`` (worker/threads.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol


class Interruptible(Protocol):
    def shield(self) -> None:
        """From here on an interruption waits; one that is on its way is raised now."""

    def unshield(self) -> None:
        """Raises the interruption that waits, if there is one."""

    def cancelling(self, task: asyncio.Task[Any]) -> AbstractContextManager[None]:
        """In this block, which runs the task on its loop, an interruption cancels it."""


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


def cancelling(task: asyncio.Task[Any]) -> AbstractContextManager[None]:
    thread = here.thread
    return nullcontext() if thread is None else thread.cancelling(task)
