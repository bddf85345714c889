"""A worker played by hand: claims and settles on a connection, one statement at a time."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt


class Hand:
    def __init__(self, db: Connection[Any], tasks: list[str], queue: str = "default") -> None:
        self.db, self.tasks, self.queue = db, tasks, queue
        self.id = run(db, statements.register_worker(
            host="test", pid=1, version="0", executor="async", slots=10, queues=[queue], tasks=tasks, lease_seconds=60,
        ))  # fmt: skip

    def claim(self, count: int = 10) -> list[Attempt]:
        """All that is due in the queue, whatever its priority."""
        priorities = self.db.execute(
            "select distinct priority from pgqueue.jobs_live where queue = %s order by 1", [self.queue]
        ).fetchall()
        lanes = [(self.queue, priority) for (priority,) in priorities]
        rows = run(self.db, statements.claim(self.id, self.tasks, lanes, [(0.0, 0)] * len(lanes), count))
        return [Attempt(self.id, row) for row in rows]

    def settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Whether it was still ours."""
        return bool(run(self.db, statements.settle(self.id, [(attempt.id, attempt.lease_id, outcome)])))
