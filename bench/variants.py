"""Variants of pgqueue. In a variant, pgqueue has other tasks or settings than in the main row of the tables.

Each variant is measured as if it were a separate system. ``label`` is the name of the variant. A variant is compared only with variants of
the same name, of the other systems.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bench import probe
from bench.peers import Producer, count_by_sql
from bench.peers import pgqueue as ours
from bench.peers.pgqueue import app

# Returns the number of ids that were used, minus the number of unfinished jobs. So a job counts even if its row was deleted when it ended.
FINISHED = """SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pgqueue.jobs_id_seq)
                   - (SELECT count(*) FROM pgqueue.jobs_live)"""


@app.task(name="noop_sync")
def noop_sync(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)


@app.task(name="sleep")
async def sleep(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)
    await asyncio.sleep(0.001)


@app.task(name="sleep_sync")
def sleep_sync(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)
    time.sleep(0.001)


@app.task(name="noop_unkept", keep="none")
async def noop_unkept(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started(n)


@dataclass(frozen=True)
class Variant:
    label: str
    task: Any = ours.noop
    flags: tuple[str, ...] = ()
    DRAIN_JOBS: int = ours.DRAIN_JOBS
    processes: int = 1
    VERSION: str = ours.VERSION

    @property
    def SETTINGS(self) -> str:  # noqa: N802
        return " ".join([ours.SETTINGS, *self.flags])

    @property
    def WORKER(self) -> list[str]:  # noqa: N802
        return [word.replace("bench.peers.pgqueue:app", "bench.variants:app") for word in ours.WORKER] + list(
            self.flags
        )

    async def setup(self, dsn: str) -> None:
        await ours.setup(dsn)

    def producer(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        return ours.producer(dsn, self.task)

    def counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        return count_by_sql(dsn, FINISHED)


THREADS = ("--executor", "thread")
CHILDREN = ("--executor", "process", "-c", "8")

PROCESSES = [
    Variant(f"x{count}", flags=("--processes", str(count)), processes=count, DRAIN_JOBS=200_000)
    for count in (2, 4, 8)
]
EXECUTORS = [
    Variant("threads", noop_sync, THREADS, 50_000),
    Variant("children", noop_sync, CHILDREN, 10_000),
    Variant("1 ms", sleep, DRAIN_JOBS=50_000),
    Variant("1 ms threads", sleep_sync, THREADS, 50_000),
    Variant("1 ms children", sleep_sync, CHILDREN, 10_000),
]
DELETED = Variant("deleted at once", noop_unkept)
