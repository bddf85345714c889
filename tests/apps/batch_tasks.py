"""An app whose jobs belong to batches. Child processes and worker processes load it."""

from __future__ import annotations

import os

from pgqueue import App, Job

PATH = "tests.apps.batch_tasks:app"
app = App(os.environ.get("PGQUEUE_DSN"))


@app.task(name="row")
def row(n: int) -> None:
    if n < 0:
        raise ValueError("a row cannot be negative")


@app.task(name="crawl", retry=[0.0])
def crawl(job: Job, depth: int) -> None:
    """Adds two jobs of its kind to its batch, until the depth is 0. The jobs are committed with the completion of this one."""
    with job.transaction() as conn:
        if depth:
            assert job.batch.add((crawl.job(depth - 1) for _ in range(2)), using=conn) == 2


@app.task(name="acrawl", retry=[0.0])
async def acrawl(job: Job, depth: int) -> None:
    """``crawl`` as a coroutine, which adds its jobs in a transaction of their own."""
    if depth:
        assert await job.batch.aadd([acrawl.job(depth - 1), acrawl.job(depth - 1)]) == 2


@app.task(name="crawl_in_process", executor="process")
def crawl_in_process(job: Job, depth: int) -> None:
    if depth:
        job.batch.add([crawl_in_process.job(depth - 1)])


@app.task(name="follow")
def follow(job: Job, word: str) -> str:
    return f"{word} {job.batch.state()}"
