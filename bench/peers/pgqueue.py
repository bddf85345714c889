"""pgqueue itself, used by its public API and its command, as any user does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import psycopg

import pgqueue
from bench import probe
from bench.peers import count_by_sql

CONCURRENCY = 200
VERSION = pgqueue.__version__
SETTINGS = f"pgq work -c {CONCURRENCY}"
DRAIN_JOBS = 100_000
DONE = "SELECT count(*) FROM pgqueue.jobs WHERE state = 'completed'"
WORKER = [sys.executable, "-m", "pgqueue", "work", "-A", "bench.peers.pgqueue:app", "-c", str(CONCURRENCY)]
TALKING_WORKER = [*WORKER[:3], "--verbose", *WORKER[3:]]  # this worker logs every claim

app = pgqueue.App()


@app.task(name="noop")
async def noop(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)


def migrate(dsn: str) -> None:
    command = [sys.executable, "-m", "pgqueue", "migrate"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=os.environ | {"PGQUEUE_DSN": dsn})


async def setup(dsn: str) -> None:
    await asyncio.to_thread(migrate, dsn)


class Producer:
    def __init__(self, conn: psycopg.AsyncConnection, task: Any) -> None:
        self.conn, self.task = conn, task

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        await self.task.using(self.conn).aenqueue_many(jobs)
        await self.conn.commit()

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        await self.task.using(self.conn).aenqueue(**job)
        before = probe.now()
        await self.conn.commit()
        return before


@asynccontextmanager
async def producer(dsn: str, task: Any = noop) -> AsyncIterator[Producer]:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        yield Producer(conn, task)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)
