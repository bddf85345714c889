"""Ends a worker: lets running jobs end within a time limit, hands back the jobs that have not ended, and writes all outcomes."""

from __future__ import annotations

import asyncio

from pgqueue.runtime.services import Services
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import JobsHandedBack, LastOutcomesNotTaken
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.settler import Settler

LAST_WRITES = 2.0  # the time limit, in seconds, for the end of stopped handlers and for the writing of the last outcomes


async def finish(
    runner: Runner,
    settler: Settler,
    claiming: asyncio.Task[None],
    settling: asyncio.Task[None],
    *,
    grace: float,
    hurry: asyncio.Event,
) -> int:
    """Lets jobs run for ``grace`` seconds, or until ``hurry`` is set. Returns how many jobs had to be handed back unfinished.

    The caller must call the claimer's ``stop`` before it calls this function.
    """
    try:
        async with asyncio.timeout(grace):
            await asyncio.wait({claiming})
            runner.release_waiting()
            async with Services() as services:
                ends = {services.begin(runner.wait_idle()), services.begin(hurry.wait())}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        pass
    claiming.cancel()
    runner.release_waiting()
    left = runner.release_running()
    if left:
        emit(JobsHandedBack(left))
    try:
        async with asyncio.timeout(LAST_WRITES):
            await runner.wait_idle()
            settler.stop()
            await settling
    except TimeoutError:
        settling.cancel()
        emit(LastOutcomesNotTaken())
    await asyncio.gather(claiming, settling, return_exceptions=True)
    runner.close()
    return left
