"""pg-boss with the batches, the bursts and the LISTEN/NOTIFY that its page on workers describes for backlogs and for low latency."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from bench.peers import QUEUE, _node, count_by_sql

SCRIPT = "pg_boss.mjs"
VERSION = _node.version("pg-boss")
SETTINGS = f"Node {_node.NODE_VERSION}, batchSize 500, perJobResults, burstWhenBatchFull, useListenNotify, a partition of its own"
DRAIN_JOBS = 50_000
DONE = f"SELECT count(*) FROM pgboss.job WHERE name = '{QUEUE}' AND state = 'completed'"
WORKER = _node.command(SCRIPT, "work")


async def setup(dsn: str) -> None:
    await _node.run(SCRIPT, "setup", dsn)


def producer(dsn: str) -> AbstractAsyncContextManager[_node.Producer]:
    return _node.producer(SCRIPT, dsn)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)
