"""Limits the time of every wait on a connection, by a clock of the client. Also sees without a wait whether something has arrived.

If nothing arrives from the server, the server's own time-outs do not help. Behind a proxy, TCP's time-outs do not help either: the
proxy's kernel acknowledges all packets, even if the server is gone.
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
    """Ends the connection, from any thread. A caller that waits for an answer gets the same error as if the server had closed it."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def has_arrived(connection: Connection | AsyncConnection) -> bool:
    """Returns whether there is something to read on the connection, or it has ended. No statement must be running on it."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection.fileno()], [], [], 0)[0])


@contextmanager
def within(connection: Connection | AsyncConnection, seconds: float) -> Iterator[None]:
    """Cuts the connection if the block takes longer than ``seconds``."""
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
