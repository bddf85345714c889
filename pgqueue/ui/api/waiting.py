"""``?wait=20``: an answer that waits for the end of a job.

All requests that wait share one thread and one listening connection (app/lookout.py), and one query a second reads all their jobs.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.requests import Request

from pgqueue.model.job import Job
from pgqueue.ui.api.calls import Call

LONGEST = 30.0  # seconds


async def wait_for_end(call: Call, job: Job, seconds: float) -> None:
    """Returns when the job has ended, the time is over, or the client has left."""
    with call.service.waiting(call.who.name):
        looking = asyncio.create_task(_look(call, job.id, seconds))
        leaving = asyncio.create_task(_left(call.request))
        try:
            await asyncio.wait({looking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            leaving.cancel()
            await asyncio.wait({looking, leaving})
    if not looking.cancelled():
        looking.result()  # raises its error


async def _look(call: Call, job_id: int, seconds: float) -> None:
    looks = call.service.store.waiters.alooks(job_id, min(seconds, LONGEST), watched=False)
    async with aclosing(looks):
        async for _ in looks:
            return


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
