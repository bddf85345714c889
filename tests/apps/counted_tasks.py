"""Tasks that end in each way in which an attempt can end, for the tests that count attempts."""

from __future__ import annotations

import asyncio
import os
import time

from tenacity import wait_fixed

from pgqueue import App, Cancel, Dead, Job, RetryPolicy, Snooze

APP = ("-A", "tests.apps.counted_tasks:app")
SOON = RetryPolicy(wait=wait_fixed(0.05), max_attempts=2)

snoozed: set[int] = set()
app = App()


@app.task(name="ok_async")
async def ok_async(ms: int = 0) -> None:
    await asyncio.sleep(ms / 1000)


@app.task(name="ok_thread")
def ok_thread(ms: int = 0) -> int:
    time.sleep(ms / 1000)
    return ms


@app.task(name="ok_process", executor="process")
def ok_process(ms: int = 0) -> None:
    time.sleep(ms / 1000)


@app.task(name="own_commit")
async def own_commit(job: Job) -> None:
    async with job.atransaction() as connection:
        await connection.execute("select 1")


@app.task(name="chunked", chunk=4, chunk_wait=0.05)
async def chunked(jobs: list[Job]) -> None:
    assert jobs


@app.task(name="fails", retry=SOON)
async def fails() -> None:
    raise ValueError("boom")


@app.task(name="gives_up")
async def gives_up() -> None:
    raise Dead("no")


@app.task(name="cancels")
async def cancels() -> None:
    raise Cancel("no")


@app.task(name="snoozes")
async def snoozes(job: Job) -> None:
    if job.id not in snoozed:
        snoozed.add(job.id)
        raise Snooze(0.1)


@app.task(name="crashes", executor="process", retry=SOON)
def crashes() -> None:
    os._exit(3)


@app.task(name="hangs")
async def hangs() -> None:
    await asyncio.sleep(600)
