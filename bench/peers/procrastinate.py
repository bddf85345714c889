"""procrastinate with ``concurrency=30``, as its documentation advises for async tasks. Only one process is measured, although the
documentation also advises several.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import procrastinate
import psycopg
import uvloop

from bench import probe
from bench.peers import QUEUE, count_by_sql

CONCURRENCY = 30
VERSION = version("procrastinate")
SETTINGS = f"uvloop, concurrency={CONCURRENCY}, a pool of {CONCURRENCY} connections"
DRAIN_JOBS = 3_000
DONE = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
WORKER = [sys.executable, "-m", "bench.peers.procrastinate"]


async def noop(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)


def app(dsn: str) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=CONCURRENCY)
    made = procrastinate.App(connector=connector)
    made.task(name="noop", queue=QUEUE)(noop)
    return made


async def setup(dsn: str) -> None:
    async with app(dsn).open_async() as opened:
        await opened.schema_manager.apply_schema_async()


class Producer:
    def __init__(self, opened: procrastinate.App, conn: psycopg.AsyncConnection) -> None:
        self.noop = opened.tasks["noop"]
        self.conn = conn

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        await self.noop.batch_defer_async(*jobs)

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        await self.noop.configure(connection=self.conn).defer_async(**job)
        before = probe.now()
        await self.conn.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    async with app(dsn).open_async() as opened, await psycopg.AsyncConnection.connect(dsn) as conn:
        yield Producer(opened, conn)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)


async def work() -> None:
    async with app(os.environ["BENCH_DSN"]).open_async() as opened:
        await opened.run_worker_async(concurrency=CONCURRENCY)


if __name__ == "__main__":
    uvloop.run(work())
