"""BullMQ with concurrency 100, the lowest value that its documentation calls usual. BullMQ keeps jobs in Redis, outside of your
transaction.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from bench.peers import QUEUE, _node, _redis

SCRIPT = "bullmq.mjs"
VERSION = _node.version("bullmq")
SETTINGS = f"Node {_node.NODE_VERSION}, concurrency 100, finished jobs kept; {_redis.SETTINGS}"
DRAIN_JOBS = 20_000
WORKER = _node.command(SCRIPT, "work")


async def setup(dsn: str) -> None:  # noqa: ARG001
    _redis.start()


def producer(dsn: str) -> AbstractAsyncContextManager[_node.Producer]:
    return _node.producer(SCRIPT, dsn)


@contextmanager
def counter(dsn: str) -> Iterator[Callable[[], int]]:  # noqa: ARG001
    with _redis.client() as connected:
        yield lambda: connected.zcard(f"bull:{QUEUE}:completed")
