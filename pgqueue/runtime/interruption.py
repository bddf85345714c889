"""Where an interruption of a handler's thread would do harm: halfway in a pool, and on a loop.

An interruption is an exception that another thread raises here, between any two instructions. psycopg's pool loses a connection by
it, and a loop goes on with the task that it was to end. Whatever can be interrupted puts itself into ``here.thread`` (worker/running/threads.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol


class Interruptible(Protocol):
    shielded: bool

    def shield(self, on: bool) -> None:
        """While it is on, an interruption waits. What is on its way, or has waited, is raised here."""

    def cancelling(self, task: asyncio.Task[object]) -> AbstractContextManager[None]:
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
    # Each end sets again what was before, and counts nothing: so it is right wherever within the block the interruption is raised.
    outside = thread.shielded
    try:
        thread.shield(True)
        yield partial(_gap, thread, outside)
    finally:
        thread.shield(outside)


@contextmanager
def _gap(thread: Interruptible, outside: bool) -> Iterator[None]:
    try:
        thread.shield(outside)
        yield
    finally:
        thread.shield(True)


def cancelling(task: asyncio.Task[object]) -> AbstractContextManager[None]:
    thread = here.thread
    return nullcontext() if thread is None else thread.cancelling(task)
