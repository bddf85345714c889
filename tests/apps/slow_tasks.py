"""Tasks that run for some time, in small steps. Some of them write a row when they begin.

Run them with ``pgq work -A tests.apps.slow_tasks:app``.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
from psycopg import AsyncConnection
from tenacity import wait_fixed

from pgqueue import App, Job, RetryPolicy

APP = ("-A", "tests.apps.slow_tasks:app")
SOON = RetryPolicy(wait=wait_fixed(0.3), max_attempts=4)
NOTE = "insert into chk.runs (op, job_id, lease_id, pid, at) values (%s, %s, %s, pg_backend_pid(), to_timestamp(%s))"
GATE = "select pg_advisory_lock_shared(%s)"

app = App()


# ---------------------------------------------------------------- handlers that run for `ms` milliseconds, and then fail if `fails`


@app.task(retry=SOON)
async def take_async(n: int, ms: int, fails: bool, job: Job) -> None:
    begun = time.time()
    async with await AsyncConnection.connect(app.dsn, autocommit=True) as own:
        await own.execute(NOTE, [n, job.id, job.lease_id, begun])
    await asyncio.sleep(ms / 1000)
    if fails:
        raise ValueError(n)


def take(n: int, ms: int, fails: bool, job: Job) -> None:
    begun = time.time()
    with psycopg.connect(app.dsn, autocommit=True) as own:
        own.execute(NOTE, [n, job.id, job.lease_id, begun])
    while time.time() < begun + ms / 1000:
        job.check()
        time.sleep(0.01)
    if fails:
        raise ValueError(n)


take_thread = app.task(name="take_thread", retry=SOON, executor="thread")(take)
take_process = app.task(name="take_process", retry=SOON, executor="process")(take)

TAKES = {"async": take_async, "thread": take_thread, "process": take_process}


# ---------------------------------------------------------------- handlers that go on until they are stopped


@app.task
async def sleep_async(job: Job) -> None:
    await asyncio.sleep(3600)


@app.task
def sleep_thread(job: Job) -> None:
    while True:
        job.check()
        time.sleep(0.01)


@app.task(executor="process")
def sleep_process(job: Job) -> None:
    time.sleep(3600)


SLEEPS = {"async": sleep_async, "thread": sleep_thread, "process": sleep_process}


# ---------------------------------------------------------------- handlers that report progress


@app.task(retry=SOON)
async def count_async(n: int, job: Job) -> Any:
    """The first attempt reports progress 3 of 10, waits for the lock, reports 5 of 10 and fails. A later attempt reports all ten steps."""
    before = job.progressed
    if before is None:
        job.progress(3, 10, "on the way")
        async with await AsyncConnection.connect(app.dsn, autocommit=True) as own:
            await own.execute(GATE, [n])
        job.progress(5, 10)
        raise ValueError(n)
    async for _ in job.track(some(10), total=10, message="again"):
        pass
    return before


async def some(count: int) -> Any:
    for item in range(count):
        yield item


def count(n: int, job: Job) -> Any:
    before = job.progressed
    if before is None:
        job.progress(3, 10, "on the way")
        with psycopg.connect(app.dsn, autocommit=True) as own:
            own.execute(GATE, [n])
        job.progress(5, 10)
        raise ValueError(n)
    for _ in job.track(range(10), message="again"):
        pass
    return before


count_thread = app.task(name="count_thread", retry=SOON, executor="thread")(count)
count_process = app.task(name="count_process", retry=SOON, executor="process")(count)

COUNTS = {"async": count_async, "thread": count_thread, "process": count_process}


def chatter(ms: int, job: Job) -> int:
    """Reports progress about every 0.1 ms."""
    end, said = time.time() + ms / 1000, 0
    while time.time() < end:
        said += 1
        job.progress(said)
        time.sleep(0.0001)
    return said


chatter_thread = app.task(name="chatter_thread", executor="thread")(chatter)
chatter_process = app.task(name="chatter_process", executor="process")(chatter)
