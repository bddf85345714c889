"""What FastAPI, Starlette and Litestar share: a lifespan that closes the app's connections, and can run a worker beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from pgqueue.app.app import App

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def lifespan(
    queue: App, inner: Lifespan | None = None, *, worker: bool = False, **settings: object
) -> Lifespan:
    """Returns the lifespan of a web application that enqueues with ``queue``.

    ``inner``: the application's own lifespan, which begins after pgqueue's and ends before it, and whose state is kept.
    ``worker``: whether a worker runs on a thread of each process of the web server, with the ``settings`` of ``pgq work`` such as
    ``concurrency=4, grace=10``. Meant for development and small services (``worker_thread`` says why).

    Connections are opened when they are first needed, so the application starts while the database is away. In the state of requests,
    ``queue`` is the App. Raises InvalidSettingError if a setting of the worker is wrong.
    """

    @asynccontextmanager
    async def run(host: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(queue.aclose)
            if worker:
                from pgqueue.integrations.worker_thread import WorkerThread  # noqa: PLC0415 - only who wants a worker loads it

                thread = WorkerThread(queue, **settings)
                stack.push_async_callback(asyncio.to_thread, thread.stop)
                thread.start()
            state = await stack.enter_async_context(inner(host)) if inner is not None else None
            yield {"queue": queue, **(state or {})}

    return run
