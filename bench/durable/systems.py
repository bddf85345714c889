"""The systems that ``bench durable`` compares. Each module of this package uses one system by its public API, and has the parts of ``System``.

Only systems that store steps or workflows in Postgres are compared. awa-pg, procrastinate, pgqueuer, graphile-worker and pg-boss are left
out, because they have neither. Chancy is left out, because it has workflows, but no steps. Celery and BullMQ are left out, because they keep
chains and groups in Redis.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

NAMES = ("pgqueue", "dbos", "absurd")
AT_ONCE = 50


def double(n: int) -> int:
    """The function of each step."""
    return 2 * n


class Orders(NamedTuple):
    """Jobs that sleep for ``pause`` seconds, and then do ``steps`` steps, one after another."""

    jobs: int
    steps: int
    pause: float = 0.0


class Workflows(NamedTuple):
    """Workflows of one shape: either chains, whose ``length`` nodes run one after another, or fans.

    A fan is one node, then ``width`` nodes that can run at the same time, then a last node that waits for all of these.
    """

    count: int
    length: int = 0
    width: int = 0

    @property
    def nodes(self) -> int:
        return self.count * (self.length or self.width + 2)


class System(Protocol):
    """What a module of a system offers, whatever part is measured."""

    VERSION: str
    SETTINGS: str  # the worker's settings, as text for people

    async def setup(self, dsn: str) -> None:
        """Creates the system's schema in an empty database."""


class StepSystem(System, Protocol):
    """A system that has steps."""

    STEP_JOBS: dict[
        int, int
    ]  # for each number of jobs at once: how many jobs are measured; a worker needs some seconds for them

    def command(self, at_once: int, orders: Orders) -> list[str]:
        """Returns the command of one worker process that runs ``at_once`` jobs at once."""

    def store_orders(self, dsn: str, at_once: int, orders: Orders) -> None:
        """Stores the jobs. If the system's worker starts its jobs itself, this function does nothing."""

    def counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        """Yields a function that counts the finished jobs."""


class NodeSystem(System, Protocol):
    """A system that has workflows."""

    def node_command(self) -> list[str]:
        """Returns the command of one worker process for the nodes of workflows, which runs 50 of them at once."""

    async def store_workflows(self, dsn: str, workflows: Workflows) -> None:
        """Stores and commits workflows."""

    def workflow_counter(self, dsn: str) -> AbstractContextManager[Callable[[], int]]:
        """Yields a function that counts the workflows whose last node is finished."""


def load(name: str) -> Any:
    """Returns the module of a system."""
    return importlib.import_module(f"bench.durable.{name}")
