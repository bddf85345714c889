"""Handlers of chunks for the process tests. They run until a test lets them end, and write notes to a file as ``hooked_tasks`` does."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pgqueue import App, Call, Cancel, Job
from pgqueue.errors import DeadlineExceededError, JobTimeoutError
from tests.apps.hooked_tasks import NOTES, note

STEP = 0.02

app = App()


@app.middleware
async def watch(call: Call) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        note("saw", call.job.id, type(error).__name__)
        raise
    note("saw", call.job.id, call.result)


def is_free() -> bool:
    return Path(os.environ[NOTES] + ".go").exists()


class Round:
    """One call of a handler. In each step, it reports the progress of each job, and checks whether the job was ended from outside."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs, self.step = list(jobs), 0
        note("chunk", os.getpid(), *(job.id for job in jobs))

    def go(self) -> None:
        self.step += 1
        for job in list(self.jobs):
            try:
                job.check()
            except (Cancel, JobTimeoutError, DeadlineExceededError) as error:
                note("learned", job.id, type(error).__name__)
                self.jobs.remove(job)
            else:
                job.progress(self.step, message=f"job {job.id}")


@app.task(name="chunky_async", chunk=4, chunk_wait=0.5, retry=False)
async def chunky_async(jobs: list[Job]) -> list[Any]:
    this = Round(jobs)
    while not is_free():
        this.go()
        await asyncio.sleep(STEP)
    return [job.id for job in jobs]


def work(jobs: list[Job]) -> list[Any]:
    this = Round(jobs)
    while not is_free():
        this.go()
        time.sleep(STEP)
    return [job.id for job in jobs]


chunky_thread = app.task(name="chunky_thread", chunk=4, chunk_wait=0.5, retry=False)(work)
chunky_process = app.task(name="chunky_process", chunk=4, chunk_wait=0.5, retry=False, executor="process")(
    work
)


@app.task(name="sum_async", chunk=10, chunk_wait=0.02)
async def sum_async(jobs: list[Job]) -> list[Any]:
    await asyncio.sleep(0.01)
    return add(jobs)


def add(jobs: list[Job]) -> list[Any]:
    for job in jobs:
        note("did", job.id)
    time.sleep(0.02)
    return [job.args["a"] + job.args["b"] for job in jobs]


sum_thread = app.task(name="sum_thread", chunk=10, chunk_wait=0.02)(add)
sum_process = app.task(name="sum_process", chunk=10, chunk_wait=0.02, executor="process")(add)
