"""Services are asyncio tasks of pgqueue on an event loop that it shares with handlers. Each service ends when its owner ends.

If a handler cancels the future for which a service waits, the service does not end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost, Outage
from pgqueue.runtime.services import Services, hidden_task, hidden_tasks
from pgqueue.worker.running.contexts import run_alone


def break_once(loop: Any) -> None:
    select = loop._selector.select

    def fail(_seconds: float | None) -> None:
        loop._selector.select = select
        raise ValueError("of the loop")

    loop._selector.select = fail


def test_a_loop_that_breaks_ends_its_main_task_and_then_the_tasks_that_are_left() -> None:
    ended: list[str] = []
    left: list[asyncio.Task[None]] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def main() -> None:
        left.append(hidden_task(wait("left")))
        async with Services() as services:
            services.begin(wait("owned"))
            await asyncio.sleep(0)
            break_once(asyncio.get_running_loop())
            await wait("main")

    with pytest.raises(ValueError, match="of the loop"):
        run_alone(main())
    assert ended == ["main", "owned", "left"]


def test_services_end_when_their_owner_ends_even_if_the_owner_fails() -> None:
    async def fail() -> None:
        async with Services() as services:
            services.begin(asyncio.Event().wait())
            raise ZeroDivisionError

    async def play() -> None:
        with pytest.raises(ZeroDivisionError):
            await fail()
        assert hidden_tasks(asyncio.get_running_loop()) == []

    asyncio.run(play())


async def statement(link: Link) -> object:
    return await link.once(statements.read_clock())


@pytest.mark.parametrize("ask", [statement, Link.connection])
def test_a_connect_counts_as_a_lost_connection_if_user_code_cancels_its_future(
    ask: Callable[[Link], Awaitable[object]],
) -> None:
    """The same is true of a second connect, which waits for the first one. Only a cancel of the task itself ends the task."""

    async def play(port: int) -> None:
        dsn = f"postgresql://postgres@127.0.0.1:{port}/none"
        link = Link(dsn, "test", Outage(dsn))
        connecting, second, cancelled = (asyncio.ensure_future(ask(link)) for _ in range(3))
        async with asyncio.timeout(30):
            peer, _ = await asyncio.get_running_loop().sock_accept(silent)
            for task in (second, connecting):
                task._fut_waiter.cancel()  # type: ignore[union-attr]
                with pytest.raises(ConnectionLost):
                    await task
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        asyncio.run(play(silent.getsockname()[1]))
