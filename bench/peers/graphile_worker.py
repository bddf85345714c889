"""graphile-worker in one process, with the settings for batches that its Performance page uses. graphile-worker deletes finished jobs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import psycopg
from psycopg.types.json import Json

from bench import probe
from bench.peers import _node, count_by_sql

SCRIPT = "graphile_worker.mjs"
VERSION = _node.version("graphile-worker")
SETTINGS = (
    f"Node {_node.NODE_VERSION}, concurrentJobs 24, localQueue 500, batches without delay, NO_LOG_SUCCESS"
)
DRAIN_JOBS = 60_000
DONE = """SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('graphile_worker._private_jobs', 'id')), 0)
               - (SELECT count(*) FROM graphile_worker._private_jobs)"""  # the number of jobs that were ever enqueued, minus the jobs that are left
ENQUEUE = "SELECT graphile_worker.add_job('noop', payload => %s)"
WORKER = ["env", "NO_LOG_SUCCESS=1", *_node.command(SCRIPT, "work")]


async def setup(dsn: str) -> None:
    await _node.run(SCRIPT, "setup", dsn)


class Producer:
    """Enqueues many jobs by the Node library, and one job by the SQL function that the documentation gives for transactions."""

    def __init__(self, node: _node.Producer, conn: psycopg.AsyncConnection) -> None:
        self.enqueue_many = node.enqueue_many
        self.conn = conn

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        await self.conn.execute(ENQUEUE, [Json(job)])
        before = probe.now()
        await self.conn.commit()
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:
    async with _node.producer(SCRIPT, dsn) as node, await psycopg.AsyncConnection.connect(dsn) as conn:
        yield Producer(node, conn)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)
