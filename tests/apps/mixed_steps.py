"""Jobs with five parts, each of another kind: a step, two steps at the same time, a step with rows, a saved place, and the last transaction.

The job stands still at a given point, when it comes to this point for the first time.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import Job
from tests.apps.points import astand_at, stand_at
from tests.apps.step_functions import note
from tests.apps.step_tasks import apart, app, part

PATH = "tests.apps.mixed_steps:app"
ROW = "insert into booked (n, job_id) values (%s, %s)"

__all__ = ["PATH", "app"]


def beside(job: Job) -> str:
    note("beside", job.id)
    return "beside"


@app.task(name="mixed", retry=[0.0] * 8)
def mixed(job: Job, point: str) -> None:
    def book(connection: Connection[Any], n: int) -> int:
        stand_at(job, point, f"before {n}")
        connection.execute(ROW, [n, job.id])
        return n

    stand_at(job, point, "outside 0")
    assert job.step(("part", 0), lambda: part(job, point, 0)) == 0
    stand_at(job, point, "outside 1")
    thread = threading.Thread(target=lambda: job.step("beside", lambda: beside(job)))
    thread.start()
    assert job.step(("part", 1), lambda: part(job, point, 1)) == 1
    thread.join()
    stand_at(job, point, "outside 2")

    def take(connection: Connection[Any]) -> int:
        book(connection, 2)
        stand_at(job, point, "after 2")
        return 2

    assert job.step_transaction(("part", 2), take) == 2
    stand_at(job, point, "outside 3")
    if job.saved is None:
        with app.connection() as connection:
            job.save(book(connection, 3), using=connection)
            stand_at(job, point, "after 3")
    stand_at(job, point, "outside 4")
    with job.transaction() as connection:
        job.finish(book(connection, 4))
        stand_at(job, point, "after 4")
    stand_at(job, point, "end")


@app.task(name="mixed_async", retry=[0.0] * 8)
async def mixed_async(job: Job, point: str) -> None:
    async def book(connection: AsyncConnection[Any], n: int) -> int:
        await astand_at(job, point, f"before {n}")
        await connection.execute(ROW, [n, job.id])
        return n

    await astand_at(job, point, "outside 0")
    assert await job.astep(("part", 0), apart, job, point, 0) == 0
    await astand_at(job, point, "outside 1")
    async with asyncio.TaskGroup() as group:
        group.create_task(job.astep("beside", lambda: beside(job)))
        group.create_task(job.astep(("part", 1), apart, job, point, 1))
    await astand_at(job, point, "outside 2")

    async def take(connection: AsyncConnection[Any]) -> int:
        await book(connection, 2)
        await astand_at(job, point, "after 2")
        return 2

    assert await job.astep_transaction(("part", 2), take) == 2
    await astand_at(job, point, "outside 3")
    if await job.asaved() is None:
        async with app.aconnection() as connection:
            await job.asave(await book(connection, 3), using=connection)
            await astand_at(job, point, "after 3")
    await astand_at(job, point, "outside 4")
    async with job.atransaction() as connection:
        job.finish(await book(connection, 4))
        await astand_at(job, point, "after 4")
    await astand_at(job, point, "end")


@app.task(name="booked_parts_async", retry=[0.0] * 8)
async def booked_parts_async(job: Job, point: str) -> None:
    async def take(connection: AsyncConnection[Any], n: int) -> int:
        await astand_at(job, point, f"before {n}")
        await connection.execute(ROW, [n, job.id])
        await astand_at(job, point, f"after {n}")
        return n

    for n in range(5):
        await astand_at(job, point, f"outside {n}")
        assert await job.astep_transaction(("part", n), take, n) == n
    await astand_at(job, point, "end")
