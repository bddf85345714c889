"""The systems that ``bench durable`` compares. Each module of this package uses one system by its public API, and has the parts of ``System``.

Only systems that store steps or workflows in Postgres are compared. awa-pg, procrastinate, pgqueuer, graphile-worker and pg-boss are left
out, because they have neither. Celery and BullMQ are left out, because they keep chains and groups in Redis.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

NAMES = ("pgqueue", "dbos", "absurd")


def double(n: int) -> int:
    """The function of each step."""
    return 2 * n


class Orders(NamedTuple):
    """Jobs that sleep for ``pause`` seconds, and then do ``steps`` steps, one after another."""

    jobs: int
    steps: int
    pause: float = 0.0


class System(Protocol):
    """What a module offers."""

    VERSION: str
    SETTINGS: str  # the worker's settings, as text for people
    STEP_JOBS: dict[
        int, int
    ]  # for each number of jobs at once: how many jobs are measured; a worker needs some seconds for them

    async def setup(self, dsn: str) -> None:
        """Creates the system's schema in an empty database."""

    def command(self, at_once: int, orders: Orders) -> list[str]:
        """Returns the command of one worker process that runs ``at_once`` jobs at once."""

    def store_orders(self, dsn: str, at_once: int, orders: Orders) -> None:
        """Stores the jobs. If the system's worker starts its jobs itself, this function does nothing."""

    def counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        """Yields a function that counts the finished jobs."""


def load(name: str) -> System:
    return importlib.import_module(f"bench.durable.{name}")  # type: ignore[return-value]
