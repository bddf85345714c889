"""Jobs with five parts, for tests that kill their processes. A job stands still at a given point, when it comes there for the first time.

The parts of a job are steps, or steps with rows, or each part is of another kind.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import Job
from tests.apps.points import astand_at, stand_at
from tests.apps.step_functions import note
from tests.apps.step_tasks import app

PATH = "tests.apps.killed_steps:app"
ROW = "insert into booked (n, job_id) values (%s, %s)"

__all__ = ["PATH", "app"]


# ---------------------------------------------------------------- steps


def part(job: Job, point: str, n: int) -> int:
    stand_at(job, point, f"before {n}")
    note("part", job.id, n)
    stand_at(job, point, f"after {n}")
    return n


async def apart(job: Job, point: str, n: int) -> int:
    await astand_at(job, point, f"before {n}")
    note("part", job.id, n)
    await astand_at(job, point, f"after {n}")
    return n


@app.task(name="parts", retry=[0.0] * 8)
def parts(job: Job, point: str) -> None:
    for n in range(5):
        stand_at(job, point, f"outside {n}")
        assert job.step(("part", n), lambda n=n: part(job, point, n)) == n
    stand_at(job, point, "end")


@app.task(name="parts_async", retry=[0.0] * 8)
async def parts_async(job: Job, point: str) -> None:
    for n in range(5):
        await astand_at(job, point, f"outside {n}")
        assert await job.astep(("part", n), lambda n=n: apart(job, point, n)) == n
    await astand_at(job, point, "end")


# ---------------------------------------------------------------- steps with rows


@app.task(name="booked_parts", retry=[0.0] * 8)
def booked_parts(job: Job, point: str) -> None:
    def take(connection: Connection[Any], n: int) -> int:
        stand_at(job, point, f"before {n}")
        connection.execute(ROW, [n, job.id])
        stand_at(job, point, f"after {n}")
        return n

    for n in range(5):
        stand_at(job, point, f"outside {n}")
        assert job.step_transaction(("part", n), take, n) == n
    stand_at(job, point, "end")


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


# ---------------------------------------------------------------- a step, two steps at the same time, a step with rows, a saved place, and the last transaction


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
