"""The systems that are compared. Each module uses one system by its public API, and has the attributes and functions of ``Peer``.

Oban for Python is left out, because it needs Python 3.12, and the benchmarks also run on Python 3.11.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, Protocol

import psycopg

NAMES = (
    "pgqueue",
    "procrastinate",
    "pgqueuer",
    "awa",
    "chancy",
    "dbos",
    "graphile_worker",
    "pg_boss",
    "celery",
    "bullmq",
)
ALL = (*NAMES, "absurd")  # only the question `durable` measures absurd

QUEUE = "bench"
NOTE = "x" * 180  # an argument, so that the arguments of each job are about 200 bytes of JSON


def job(n: int) -> dict[str, Any]:
    """Returns the arguments of the n-th job."""
    return {"n": n, "note": NOTE}


class Producer(Protocol):
    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        """Enqueues and commits all the jobs in one call of the system's bulk API."""

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        """Enqueues a job in a transaction of the caller, and commits it. Returns the monotonic time just before the commit."""


class Peer(Protocol):
    """A module of this package has these attributes and functions."""

    VERSION: str
    SETTINGS: str  # the worker's settings, as text for people
    DRAIN_JOBS: int  # how many jobs a drain measures; a worker needs some seconds for them
    WORKER: list[str]  # the command of one worker process; the process finds the database in BENCH_DSN

    async def setup(self, dsn: str) -> None:
        """Creates the system's schema in an empty database."""

    def producer(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        """Connects a producer of jobs."""

    def counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        """Yields a function that counts the jobs that are finished according to the system's store."""


@contextmanager
def count_by_sql(dsn: str, query: str) -> Iterator[Callable[[], int]]:
    """Yields a function that counts finished jobs by ``query``, for systems whose store is the database."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield lambda: conn.execute(query).fetchone()[0]  # type: ignore[index, arg-type]


def load(name: str) -> Peer:
    return importlib.import_module(f"bench.peers.{name}")  # type: ignore[return-value]


def available(name: str) -> str | None:
    """Returns the reason why a system cannot be measured here, or None if it can."""
    try:
        load(name)
    except ModuleNotFoundError as missing:
        return f"{missing}: pip install -e '.[bench]'"
    except ImportError as missing:  # a module raises it if it needs a program that pip does not install
        return str(missing)
    return None


def describe(name: str) -> str:
    peer = load(name)
    return f"{peer.VERSION}; {peer.SETTINGS}"
