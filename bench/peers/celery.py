"""celery with the prefetch multiplier that its Optimizing guide suggests for many short tasks. Celery keeps tasks in Redis, outside of
your transaction.
"""

import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any

from celery import Celery
from kombu import Producer as Publisher

from bench import probe
from bench.peers import QUEUE, _redis

PREFETCH = 128
VERSION = version("celery")
SETTINGS = f"prefork, prefetch multiplier {PREFETCH}, acks_late, no results; {_redis.SETTINGS}"
DRAIN_JOBS = 3_000
WORKER = [sys.executable, "-m", "celery", "-A", "bench.peers.celery", "worker"]

# The processes of the pool share this count.
started = multiprocessing.Value("q", 0)
app = Celery()
app.conf.update(
    broker_url=f"redis+socket://{os.environ.get('BENCH_REDIS', '')}",
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,  # runs tasks at least once, as all other systems here; by default a task is lost if its worker dies
    worker_prefetch_multiplier=PREFETCH,
)


@app.task(name="noop")
def noop(n: int, note: str) -> None:  # noqa: ARG001
    with started.get_lock():
        started.value += 1
        number = started.value
    probe.report(number)


async def setup(dsn: str) -> None:  # noqa: ARG001
    _redis.start()
    app.conf.broker_url = f"redis+socket://{os.environ['BENCH_REDIS']}"


class Producer:
    """Celery has no call for many jobs, so each job is one call. All calls use one connection."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            noop.apply_async(kwargs=job, producer=self.publisher)

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        before = probe.now()
        noop.apply_async(kwargs=job, producer=self.publisher)
        return before


@asynccontextmanager
async def producer(dsn: str) -> AsyncIterator[Producer]:  # noqa: ARG001
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as publisher:
        yield Producer(publisher)


@contextmanager
def counter(dsn: str) -> Iterator[Callable[[], int]]:  # noqa: ARG001
    """Counts the tasks that have left Redis since this counter was opened, because Redis keeps no finished tasks."""
    with _redis.client() as connected:

        def left() -> int:
            return connected.llen(QUEUE) + connected.hlen("unacked")

        enqueued = left()
        yield lambda: enqueued - left()
