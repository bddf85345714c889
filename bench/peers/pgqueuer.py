"""pgqueuer with asyncpg and uvloop, as in its own benchmark. Batches are larger and autovacuum is set as its tuning guide says."""

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench import probe
from bench.peers import count_by_sql

BATCH = 100
VERSION = version("pgqueuer")
SETTINGS = f"asyncpg, uvloop, batch_size={BATCH}, durable tables, `pgq autovac` applied"
DRAIN_JOBS = 50_000
DONE = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
WORKER = [sys.executable, "-m", "bench.peers.pgqueuer"]


async def setup(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    queries = Queries.from_asyncpg_connection(conn)
    await queries.install()
    await queries.optimize_autovacuum()
    await conn.close()


class Producer:
    def __init__(self, conn: asyncpg.Connection) -> None:
        self.conn = conn
        self.queries = Queries.from_asyncpg_connection(conn)

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        payloads = [json.dumps(job).encode() for job in jobs]
        await self.queries.enqueue(["noop"] * len(jobs), payloads, [0] * len(jobs))

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        transaction = self.conn.transaction()
        await transaction.start()
        await self.queries.enqueue("noop", json.dumps(job).encode())
        before = probe.now()
        await transaction.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    conn = await asyncpg.connect(dsn)
    yield Producer(conn)
    await conn.close()


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)


async def work() -> None:
    worker = PgQueuer.from_asyncpg_connection(await asyncpg.connect(os.environ["BENCH_DSN"]))

    @worker.entrypoint("noop")
    async def noop(job: Job) -> None:
        probe.job_started(json.loads(job.payload or b"")["n"])

    await worker.run(batch_size=BATCH)


if __name__ == "__main__":
    uvloop.run(work())
