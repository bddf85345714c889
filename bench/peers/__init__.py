"""The systems that are compared. Each module drives one system by its public API, and all modules look alike.

Oban for Python is left out, because it needs Python 3.12, and pgqueue needs less.
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

QUEUE = "bench"
NOTE = "x" * 180  # with its sequence number, every job carries about 200 bytes of JSON


def job(n: int) -> dict[str, Any]:
    """The arguments of the n-th job."""
    return {"n": n, "note": NOTE}


class Producer(Protocol):
    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        """Enqueue and commit all the jobs in one call of the system's bulk API."""

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        """Enqueue a job in a transaction of the caller; return the monotonic time just before its commit."""


class Peer(Protocol):
    """What a module of this package offers."""

    VERSION: str
    SETTINGS: str  # the worker's settings, as people read them
    DRAIN_JOBS: int  # enough for a drain of some seconds
    WORKER: list[str]  # the command of one worker process; it reads BENCH_DSN

    async def setup(self, dsn: str) -> None:
        """Create the system's schema in an empty database."""

    def producer(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        """Connect an enqueuing process."""

    def counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        """Give a function that tells how many jobs the store knows to be finished."""


@contextmanager
def count_by_sql(dsn: str, query: str) -> Iterator[Callable[[], int]]:
    """A counter for systems whose store is the database."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield lambda: conn.execute(query).fetchone()[0]  # type: ignore[index, arg-type]


def load(name: str) -> Peer:
    return importlib.import_module(f"bench.peers.{name}")  # type: ignore[return-value]


def available(name: str) -> str | None:
    """Why a system cannot be measured here, or None if it can."""
    try:
        load(name)
    except ModuleNotFoundError as missing:
        return f"{missing}: pip install -e '.[bench]'"
    except ImportError as missing:  # a module raises it if something is missing that pip does not install
        return str(missing)
    return None


def describe(name: str) -> str:
    peer = load(name)
    return f"{peer.VERSION}; {peer.SETTINGS}"
