"""Flows: work that consists of several statements, written once for sync and async connections.

A flow is a generator: it yields each statement to send, receives the statement's answer, and returns a result. The flow itself
does no I/O.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple, TypeVar

from pgqueue.database.joining import CallersConnection
from pgqueue.database.run import copy, copy_async, run, run_async
from pgqueue.sql import Statement

T = TypeVar("T")


class Copy(NamedTuple):
    """A COPY … FROM STDIN and its blocks. A flow yields it only if ``can_copy(connection)`` is true, and receives None as its answer."""

    statement: Statement[None]
    blocks: Iterable[bytes | bytearray]


Flow = Generator[Statement[object] | Copy, Any, T]


def drive(connection: CallersConnection, flow: Flow[T]) -> T:
    """Runs a flow on any sync connection, in its transaction."""
    answer = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Copy):
            answer = None
            copy(connection, *step)
        else:
            answer = run(connection, step)


async def drive_async(connection: CallersConnection, flow: Flow[T]) -> T:
    """Runs a flow on any async connection, in its transaction."""
    answer = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Copy):
            answer = None
            await copy_async(connection, *step)
        else:
            answer = await run_async(connection, step)
