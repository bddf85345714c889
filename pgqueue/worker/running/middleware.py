"""Enters middleware around one attempt. Each layer of middleware is a context manager. The layer that was declared first is the outermost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

from pgqueue.model.hooks import Call, Layer
from pgqueue.worker.running.contexts import OwnContext


@contextmanager
def around(layers: list[Layer], call: Call, own: OwnContext) -> Iterator[None]:
    """Enters the layers on this thread. Async layers run on the loop of this thread, which stands still while a sync handler runs."""
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(Driven(own.call(layer, call), own))
        yield


@asynccontextmanager
async def around_async(layers: list[Layer], call: Call) -> AsyncIterator[None]:
    """Enters the layers on this loop."""
    async with AsyncExitStack() as stack:
        for layer in layers:
            context: Any = layer(call)
            if hasattr(context, "__aenter__"):
                await stack.enter_async_context(context)
            else:
                stack.enter_context(context)
        yield


class Driven:
    """Wraps a sync or async context manager in a sync one. Its ``__enter__`` and ``__exit__`` run in the context ``own``."""

    def __init__(self, context: Any, own: OwnContext) -> None:
        is_async = hasattr(context, "__aenter__")
        self._enter: Any = context.__aenter__ if is_async else context.__enter__
        self._exit: Any = context.__aexit__ if is_async else context.__exit__
        self._own = own

    def __enter__(self) -> object:
        return self._own.call(self._enter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return bool(self._own.call(self._exit, kind, error, trace))
