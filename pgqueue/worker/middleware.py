"""Middleware around one attempt: each layer a context manager, the first one declared outermost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

from pgqueue.events import Call, Layer
from pgqueue.outcome import INSTRUCTIONS


@contextmanager
def around(layers: list[Layer], call: Call, runner: asyncio.Runner) -> Iterator[None]:
    """On this thread; what is async runs on ``runner``'s loop, before and after the handler, but not while it runs."""
    with ExitStack() as stack:
        for layer in layers:
            context: Any = layer(call)
            stack.enter_context(Driven(context, runner) if hasattr(context, "__aenter__") else context)
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
    """An async context manager as a sync one."""

    def __init__(self, context: Any, runner: asyncio.Runner) -> None:
        self._context, self._runner = context, runner

    def __enter__(self) -> object:
        return self._runner.run(self._enter())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._runner.run(self._exit(kind, error, trace))

    async def _enter(self) -> object:
        return await self._context.__aenter__()

    async def _exit(self, *error: Any) -> bool:
        return bool(await self._context.__aexit__(*error))


def obeyed(value: object) -> object:
    """What a handler returned; an instruction is raised, so that middleware sees it as such."""
    if isinstance(value, INSTRUCTIONS):
        raise value
    return value
