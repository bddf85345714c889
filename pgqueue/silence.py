"""A bound for every wait on a connection, on this side of it.

The server's own time-outs do not help where nothing arrives any more, nor TCP's behind a proxy whose kernel acknowledges all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection


def cut(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Ends the connection from outside: to who waits for its answer it looks as if the server had closed it."""
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


@contextmanager
def within(connection: Connection[Any] | AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Cuts a connection that gives no answer for so long."""
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
