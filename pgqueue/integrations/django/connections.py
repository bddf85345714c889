"""Keeps Django's connections fresh in a worker. Django itself does this around requests, and a worker has no requests.

Without it, a handler would get the connection that a restart of the database has broken, and every later job of its thread would fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)

from asgiref.sync import sync_to_async
from django.db import close_old_connections, reset_queries

from pgqueue.model.hooks import Call


def kept_fresh(_: Call) -> AbstractContextManager[None] | AbstractAsyncContextManager[None]:
    """Middleware around each attempt: closes connections that are broken, or older than CONN_MAX_AGE."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _on_this_thread()
    return _on_djangos_thread()


def _refresh() -> None:
    reset_queries()
    close_old_connections()


@contextmanager
def _on_this_thread() -> Iterator[None]:
    _refresh()
    try:
        yield
    finally:
        _refresh()


@asynccontextmanager
async def _on_djangos_thread() -> AsyncIterator[None]:
    await sync_to_async(_refresh, thread_sensitive=True)()
    try:
        yield
    finally:
        await sync_to_async(_refresh, thread_sensitive=True)()
