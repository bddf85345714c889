"""dbos with workflows on a queue without limits, as in the first example of its tutorial on queues, but with a shorter polling interval."""

import asyncio
import itertools
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench import probe
from bench.peers import QUEUE, count_by_sql

POLLING = 0.01
VERSION = version("dbos")
SETTINGS = f"workflows in threads (async workflows cost more CPU), no concurrency limit, polling_interval_sec={POLLING}"
DRAIN_JOBS = 2_000
DONE = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
WORKER = [sys.executable, "-m", "bench.peers.dbos"]
OPTIONS: EnqueueOptions = {"workflow_name": "noop", "queue_name": QUEUE}


def url(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+psycopg://")


def launch(dsn: str) -> None:
    config: DBOSConfig = {"name": "bench", "system_database_url": url(dsn), "log_level": "WARNING"}
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=POLLING)


async def setup(dsn: str) -> None:
    def migrate() -> None:
        launch(dsn)
        DBOS.destroy()

    await asyncio.to_thread(migrate)


class Producer:
    """DBOS has no call for many jobs, so each job is one call. All calls are in one transaction."""

    def __init__(self, client: DBOSClient, conn: sqlalchemy.Connection) -> None:
        self.client = client
        self.conn = conn

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            self.client.enqueue_in_transaction(self.conn, OPTIONS, **job)
        self.conn.commit()

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        self.client.enqueue_in_transaction(self.conn, OPTIONS, **job)
        before = probe.now()
        self.conn.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    engine = sqlalchemy.create_engine(url(dsn))
    client = DBOSClient(system_database_engine=engine)
    with engine.connect() as conn:
        yield Producer(client, conn)
    client.destroy()
    engine.dispose()


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)


def work() -> None:
    starts = itertools.count(1)  # next(starts) is atomic, so no two threads get the same number

    @DBOS.workflow(name="noop")
    def noop(n: int, note: str) -> None:  # noqa: ARG001
        probe.report(next(starts))

    launch(os.environ["BENCH_DSN"])
    threading.Event().wait()


if __name__ == "__main__":
    work()
