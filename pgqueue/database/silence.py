"""Bounds every wait on a connection by a clock of the client, and tells what can be known of a connection without a wait.

If nothing arrives, the server's own time-outs do not help. TCP's time-outs do not help behind a proxy
whose kernel acknowledges everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import AsyncConnection, Connection


def cut(connection: Connection | AsyncConnection) -> None:
    """Ends the connection, on any thread. If a caller waits for an answer, it sees the same as if the server had closed the connection."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def has_arrived(connection: Connection | AsyncConnection) -> bool:
    """Whether a connection that awaits no answer has something to read, or has ended."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection.fileno()], [], [], 0)[0])


@contextmanager
def within(connection: Connection | AsyncConnection, seconds: float) -> Iterator[None]:
    """Cuts the connection if the block takes longer than this."""
    clock: threading.Timer | asyncio.TimerHandle
    if isinstance(connection, AsyncConnection):
        clock = asyncio.get_running_loop().call_later(seconds, cut, connection)
    else:
        clock = threading.Timer(seconds, cut, [connection])
        clock.daemon = True
        clock.start()
    try:
        yield
    finally:
        clock.cancel()
