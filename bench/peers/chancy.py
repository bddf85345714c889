"""chancy with eager polling. It has the executor that chancy's reference recommends for many async jobs, with the executor's default
settings.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import psycopg
from chancy import Chancy, Queue, Worker, job
from psycopg.rows import dict_row

from bench import probe
from bench.peers import QUEUE, count_by_sql

CONCURRENCY = 100
VERSION = version("chancy")
SETTINGS = f"AsyncExecutor, concurrency={CONCURRENCY}, eager_polling, notifications, no log of jobs"
DRAIN_JOBS = 5_000
DONE = "SELECT count(*) FROM chancy_jobs WHERE state = 'succeeded'"
# Chancy's own logger writes a line for every job. This logger writes only warnings and errors.
QUIET = logging.getLogger("bench.chancy")
WORKER = [sys.executable, "-m", "bench.peers.chancy"]


@job(queue=QUEUE)
async def noop(*, n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started()


def connect(dsn: str) -> Chancy:
    return Chancy(dsn, log=QUIET)


async def setup(dsn: str) -> None:
    async with connect(dsn) as app:
        await app.migrate()
        queue = Queue(
            QUEUE,
            concurrency=CONCURRENCY,
            executor=Chancy.Executor.Async,
            polling_interval=1,
            eager_polling=True,
        )
        await app.declare(queue)


class Producer:
    def __init__(self, app: Chancy, conn: psycopg.AsyncConnection) -> None:
        self.app = app
        self.conn = conn

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        async for _ in self.app.push_many([noop.job.with_kwargs(**arguments) for arguments in jobs]):
            pass

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        async with self.conn.cursor(row_factory=dict_row) as cursor:
            await self.app.push_ex(cursor, noop.job.with_kwargs(**job))
        before = probe.now()
        await self.conn.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    async with connect(dsn) as app, await psycopg.AsyncConnection.connect(dsn) as conn:
        yield Producer(app, conn)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)


async def work() -> None:
    async with connect(os.environ["BENCH_DSN"]) as app, Worker(app) as worker:
        await worker.wait_for_shutdown()


if __name__ == "__main__":
    asyncio.run(work())
