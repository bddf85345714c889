"""Handlers of the nodes of workflows. They look at the results for which their nodes have waited, also in child processes."""

from __future__ import annotations

from typing import Any

from pgqueue import App, Job

PATH = "tests.apps.workflow_tasks:app"

app = App()


@app.task(name="number")
def number(n: int, fails: bool = False) -> int:
    if fails:
        raise ValueError(f"number {n}")
    return n


@app.task(name="add")
def add(left: int, right: int) -> int:
    return left + right


@app.task(name="sum_up")
def sum_up(parts: list[int | None]) -> list[int | None]:
    return parts


@app.task(name="collect")
def collect(job: Job) -> list[list[Any]]:
    return [[end.name, end.state, end.result, end.error] for end in job.results()]


@app.task(name="acollect")
async def acollect(job: Job) -> list[list[Any]]:
    return [[end.name, end.state, end.result, end.error] async for end in job.aresults()]
