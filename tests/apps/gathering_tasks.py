"""Handlers that enqueue children and wait for them (``job.gather``). They write a line for each point that they come to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pgqueue import App, Dead, Job
from pgqueue.errors import ChildrenFailedError
from tests.apps.step_functions import NOTES, note

PATH = "tests.apps.gathering_tasks:app"

app = App(name="gathering")
forbidden: set[int] = set()  # a child of one of these numbers is dead
chosen: list[int] = []  # the children of a job of ``choosing``; a test can change it between two attempts


@app.task(name="square", retry=False)
def square(n: int) -> int:
    note("square", n)
    if n < 0 or n in forbidden:
        raise Dead(f"{n} is {'negative' if n < 0 else 'forbidden'}")
    return n * n


@app.task(name="gathering", retry=False)
def gathering(job: Job, numbers: list[int]) -> list[Any]:
    note("begun", job.attempt)
    found = job.gather("squares", [square.job(n) for n in numbers])
    note("got", found)
    return found


@app.task(name="gathering_async", retry=False)
async def gathering_async(job: Job, numbers: list[int]) -> list[Any]:
    note("begun", job.attempt)
    found = await job.agather("squares", [square.job(n) for n in numbers])
    note("got", found)
    return found


@app.task(name="returning", retry=False)
def returning(job: Job, numbers: list[int]) -> list[Any]:
    ends = job.gather("squares", (square.job(n) for n in numbers), failures="return")
    return [[end.state, end.result, end.error] for end in ends]


@app.task(name="catching", retry=False)
def catching(job: Job, numbers: list[int]) -> list[Any]:
    try:
        return job.gather("squares", [square.job(n) for n in numbers])
    except ChildrenFailedError as error:
        return [str(error), [end.state for end in error.ends]]


@app.task(name="mended", retry=False)
def mended(n: int) -> int:
    if not Path(f"{os.environ[NOTES]}.mended").exists():
        raise Dead("nothing is mended")
    return n


@app.task(name="gathering_mended", retry=False)
def gathering_mended(job: Job, numbers: list[int]) -> list[Any]:
    return job.gather("numbers", [mended.job(n) for n in numbers])


@app.task(name="asking", retry=False)
def asking(job: Job, numbers: list[int]) -> list[Any]:
    found = job.gather("squares", [square.job(n) for n in numbers])
    job.wait_for("approved")
    return found


@app.task(name="choosing", retry=False)
def choosing(job: Job) -> list[Any]:
    found = job.gather("squares", [square.job(n) for n in chosen])
    job.wait_for("approved")
    return found


@app.task(name="twice", retry=False)
def twice(job: Job) -> list[Any]:
    first = job.gather(("squares", 1), [square.job(2)])
    return first + job.gather(("squares", 2), [square.job(first[0])])


@app.task(name="together", retry=False)
async def together(job: Job) -> list[Any]:
    return await asyncio.gather(
        job.agather("small", [square.job(1), square.job(2)]), job.agather("large", [square.job(30)])
    )


@app.task(name="nested", retry=False)
def nested(job: Job) -> list[Any]:
    return job.gather("inner", [gathering.job([n, n + 1]) for n in (1, 3)])
