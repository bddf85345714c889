"""Holds back an interruption of a handler's thread where it would do harm: inside a pool, and on a loop.

An interruption is an exception that another thread raises in the handler's thread, between any two instructions. Inside a pool, psycopg
would lose a connection. On a loop, the task that should end would go on. A thread that can be interrupted has an object in
``here.thread`` (worker/running/threads.py).
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
        """While the shield is on, an interruption waits. This call raises an interruption that has waited or is on its way."""

    def cancelling(self, task: asyncio.Task[object]) -> AbstractContextManager[None]:
        """In this block, which runs the task on its loop, an interruption cancels the task."""


class Here(threading.local):
    thread: Interruptible | None = None


here = Here()


@contextmanager
def uninterrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Interruptions wait until this block ends. The block gets ``gap``: in ``with gap():``, they come as before the block."""
    thread = here.thread
    if thread is None:
        yield nullcontext
        return
    # The end of each block restores the former state and counts nothing. So the state is right wherever an interruption is raised.
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
