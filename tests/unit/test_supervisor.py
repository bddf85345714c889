"""Tests of the pauses and the limits of a supervisor, and of a worker whose supervisor has died."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pgqueue.worker.processes.channels import LineToSupervisor
from pgqueue.worker.processes.supervisor import backoff, spread


@pytest.mark.parametrize(
    ("deaths", "least", "most"),
    [(0, 0.0, 0.5), (1, 0.5, 1.0), (2, 1.0, 2.0), (5, 8.0, 16.0), (6, 15.0, 30.0), (10_000, 15.0, 30.0)],
)
def test_processes_that_die_early_are_restarted_after_growing_random_pauses(deaths, least, most):
    pauses = {backoff(deaths) for _ in range(200)}
    assert all(least <= pause <= most for pause in pauses)
    assert max(pauses) - min(pauses) > (most - least) / 2


def test_the_limits_of_recycling_vary_by_up_to_a_tenth():
    limits = [spread(1000) for _ in range(200)]
    assert 900 <= min(limits) < 950
    assert 1050 < max(limits) <= 1100
    assert spread(1) == 1
    assert spread(None) is None


def test_a_worker_notices_the_end_of_a_supervisor_that_dies_with_unread_messages() -> None:
    """If messages are unread, the worker gets a reset of the connection instead of the end of the stream."""

    async def play() -> None:
        mine, theirs = socket.socketpair()
        line, its_line = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        gone = asyncio.Event()
        worker = LineToSupervisor(
            (theirs.detach(), its_line.detach()), room=lambda: 1, wake_up=lambda: None, cancelled=lambda _: None,
            vacant=lambda: None, stop=lambda _: None, orphaned=gone.set,
        )  # fmt: skip
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0)
        worker._socket.send(b"more\n")
        mine.close()
        line.close()
        async with asyncio.timeout(20):
            await gone.wait()
            await running
        asyncio.get_running_loop().remove_reader(worker._line)
        worker._socket.close()
        worker._line.close()

    asyncio.run(play())
