"""awa-pg with the queue storage and the COPY that its README shows first. A claim takes up to 512 jobs, as in the benchmarks of awa-pg."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import awa
import uvloop

from bench import probe
from bench.peers import QUEUE, count_by_sql

VERSION = version("awa-pg")
WORKERS = {"max_workers": 1024, "claim_batch_size": 512}
SETTINGS = f"queue storage, uvloop, {WORKERS}, 20 connections"
DRAIN_JOBS = 15_000
DONE = """SELECT ((SELECT coalesce(sum(completed_count), 0) FROM awa.receipt_completion_batches)
                + (SELECT count(*) FROM awa.done_entries)
                + (SELECT coalesce(sum(pruned_completed_count), 0) FROM awa.queue_terminal_rollups))::bigint
"""  # the view awa.jobs is not used, because counting so many jobs in it takes minutes
WORKER = [sys.executable, "-m", "bench.peers.awa"]


@dataclass
class Noop:
    n: int
    note: str


def client(dsn: str) -> awa.AsyncClient:
    url = dsn.replace("@/", "@localhost/")  # the driver of awa-pg needs a host in the URL, even for a socket
    return awa.AsyncClient(url, max_connections=20)


async def setup(dsn: str) -> None:
    async with client(dsn) as migrating:
        await migrating.migrate()
        await migrating.install_queue_storage()


class Producer:
    def __init__(self, connected: awa.AsyncClient) -> None:
        self.client = connected

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        await self.client.enqueue_many_copy([Noop(**job) for job in jobs], queue=QUEUE)

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        transaction = await self.client.transaction()
        await transaction.insert(Noop(**job), queue=QUEUE)
        before = probe.now()
        await transaction.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    async with client(dsn) as connected:
        yield Producer(connected)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)


async def work() -> None:
    worker = client(os.environ["BENCH_DSN"])

    @worker.task(Noop, queue=QUEUE)
    async def noop(job: awa.Job) -> None:
        probe.job_started(job.args.n)

    await worker.start([{"name": QUEUE, **WORKERS}])
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(work())
