"""Two connections race in a given order. The first connection executes statements and keeps its transaction open.

Then the second connection executes statements, which perhaps wait for the first transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.sql import Statement
from tests import factories
from tests.waiting import wait_until
from tests.workflows import ids, store

Act = Callable[[Connection[Any]], Any]
TASK = "task"  # every job that these functions store has this task
Rows = list[tuple[int, bool, str | None]]


class Players:
    """``one`` and ``two`` are the connections that race. They are not in autocommit mode. ``db`` takes no part in the race."""

    def __init__(self, db: Connection[Any], one: Connection[Any], two: Connection[Any]) -> None:
        self.db, self.one, self.two = db, one, two

    @contextmanager
    def during(self, first: Act, second: Act) -> Iterator[Future[Any]]:
        """Inside the block, ``first`` has acted and is not committed yet. ``second`` waits for a lock, or has ended."""
        self.result = first(self.one)
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(self._commit, second)
            try:
                wait_until(lambda: later.done() or self.is_blocked())
                yield later
            finally:
                self.one.commit()

    def race(self, first: Act, second: Act) -> tuple[Any, Any, bool]:
        """Returns the answer of ``first``, the answer of ``second``, and whether ``second`` had to wait for the commit of ``first``."""
        with self.during(first, second) as later:
            waited = not later.done()
        return self.result, later.result(timeout=20), waited

    def _commit(self, act: Act) -> Any:
        answer = act(self.two)
        self.two.commit()
        return answer

    def is_blocked(self) -> bool:
        row = self.db.execute(
            "select cardinality(pg_blocking_pids(%s)) > 0", [self.two.info.backend_pid]
        ).fetchone()
        return bool(row and row[0])


def does(statement: Statement[Any]) -> Act:
    return lambda connection: run(connection, statement)


def enqueue(db: Connection[Any], **options: Any) -> int:
    return factories.enqueue(db, TASK, **options)


def register(db: Connection[Any], seconds: float = 60) -> int:
    return run(
        db,
        statements.register_worker(
            host="here", pid=1, version="0", executor="async", slots=1, queues=["default"], tasks=[TASK],
            lease_seconds=seconds,
        ),
    )  # fmt: skip


def claim(worker_id: int, count: int = 1) -> Statement[Any]:
    return statements.claim(worker_id, [TASK], [("default", 0)], [(0.0, 0)], count)


def settle(worker_id: int, job_id: int, lease_id: int, outcome: Outcome) -> Statement[Any]:
    return statements.settle(worker_id, [(job_id, lease_id, outcome)])


def expire(db: Connection[Any], worker_id: int) -> None:
    db.execute(
        "update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s' where id = %s",
        [worker_id],
    )


def enqueues(*jobs: dict[str, Any], args: dict[str, Any] | None = None) -> Act:
    """Returns a function that enqueues these jobs and returns (id, created, conflict) of each job."""

    def act(connection: Connection[Any]) -> Rows:
        items = Jsonb([{"task": TASK, "args": args or {}, **job} for job in jobs])
        return connection.execute(
            "select id, created, conflict from pgqueue.enqueue_many(%s) order by item", [items]
        ).fetchall()

    return act


def running_holder(players: Players) -> tuple[int, int, int]:
    """Stores a job with the unique_key k and claims it; returns (worker id, job id, lease_id)."""
    worker_id, job_id = register(players.db), enqueue(players.db, unique_key="k")
    [claimed] = run(players.db, claim(worker_id))
    return worker_id, job_id, claimed[1]


def running(players: Players, *nodes: dict[str, Any]) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """Stores a workflow and claims the nodes that can run. Returns its id, the worker's id, and job id and lease_id of each of these."""
    flow = store(players.db, *[{**made, **({"task": "task"} if "task" in made else {})} for made in nodes])
    worker = register(players.db)
    names = {job: name for name, job in ids(players.db, flow).items()}
    leases = {names[row[0]]: (row[0], row[1]) for row in run(players.db, claim(worker, 10))}
    return flow, worker, leases
