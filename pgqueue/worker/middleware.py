"""Middleware around one attempt: each layer a context manager, the first one declared outermost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

from pgqueue.events import Call, Layer
from pgqueue.worker.apart import Apart


@contextmanager
def around(layers: list[Layer], call: Call, apart: Apart) -> Iterator[None]:
    """On this thread; what is async runs on its loop, before and after the handler, but not while it runs."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(Driven(apart.call(layer, call), apart))
        yield


@asynccontextmanager
async def around_async(layers: list[Layer], call: Call) -> AsyncIterator[None]:
    """On this loop."""
    async with AsyncExitStack() as stack:
        for layer in layers:
            context: Any = layer(call)
            if hasattr(context, "__aenter__"):
                await stack.enter_async_context(context)
            else:
                stack.enter_context(context)
        yield


class Driven:
    """A context manager, sync or async, as a sync one whose halves run ``apart``."""

    def __init__(self, context: Any, apart: Apart) -> None:
        is_async = hasattr(context, "__aenter__")
        self._enter: Any = context.__aenter__ if is_async else context.__enter__
        self._exit: Any = context.__aexit__ if is_async else context.__exit__
        self._apart = apart

    def __enter__(self) -> object:
        return self._apart.call(self._enter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return bool(self._apart.call(self._exit, kind, error, trace))
