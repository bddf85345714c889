"""Delays an interruption of a handler's thread at places where it would do harm: inside a connection pool, and on an event loop.

An interruption is an exception that another thread raises in the handler's thread, between any two instructions. If it came inside a pool,
psycopg would lose a connection. If it came on an event loop, it could be raised in asyncio's code, and the handler's task would not end.
A thread that can be interrupted has an object in ``here.thread`` (worker/running/threads.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # an import of asyncio would make ``import pgqueue`` three times as slow
    import asyncio


class Interruptible(Protocol):
    shielded: bool

    def shield(self, on: bool) -> None:
        """Turns the shield on or off. While it is on, an interruption waits.

        If an interruption has waited, or arrives during this call, the call raises it.
        """

    def cancelling(self, task: asyncio.Task[object]) -> AbstractContextManager[None]:
        """Returns a context manager for a block that runs the task on its loop. In this block, an interruption cancels the task."""


class Here(threading.local):
    thread: Interruptible | None = None


here = Here()


@contextmanager
def uninterrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """In this block, interruptions wait until its end. The block gets a function ``gap``.

    Inside ``with gap():``, interruptions arrive in the way in which they did before the block.
    """
    thread = here.thread
    if thread is None:
        yield nullcontext
        return
    # The end of a block restores the state from before the block. A counter of blocks could become wrong if an interruption came between
    # its change and the block.
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
