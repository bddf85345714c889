"""A worker without a process: a test calls it to claim and settle jobs on a connection, one statement at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.versions import UNVERSIONED, Versions
from pgqueue.worker.attempt import Attempt


class Hand:
    """A worker that has a row and a lease in the database, but no process."""

    def __init__(
        self, db: Connection[Any], tasks: list[str], queue: str = "default", versions: Versions = UNVERSIONED
    ) -> None:
        self.db, self.tasks, self.queue = db, [*tasks, *versions.accepted], queue
        self.id = run(db, statements.register_worker(
            host="test", pid=1, version="0", executor="async", slots=10, queues=[queue], tasks=tasks, lease_seconds=60,
            versions=versions,
        ))  # fmt: skip

    def claim(self, count: int = 10) -> list[Attempt]:
        """Claims up to ``count`` due jobs of the queue, of any priority."""
        priorities = self.db.execute(
            "select distinct priority from pgqueue.jobs_live where queue = %s order by 1", [self.queue]
        ).fetchall()
        lanes = [(self.queue, priority) for (priority,) in priorities]
        rows = run(self.db, statements.claim(self.id, self.tasks, lanes, [(0.0, 0)] * len(lanes), count))
        return [Attempt(self.id, row) for row in rows]

    def settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Settles the attempt, and returns whether it still belonged to this worker."""
        return bool(run(self.db, statements.settle(self.id, [(attempt.id, attempt.lease_id, outcome)])))

    def complete_nodes(
        self, *attempts: Attempt, results: Mapping[int, str] = MappingProxyType({})
    ) -> list[int]:
        """Completes nodes of workflows, with results by id, as JSON text. Returns the ids of the jobs that still belonged to this worker."""
        items = sorted((one.id, one.lease_id, True, results.get(one.id)) for one in attempts)
        return run(self.db, statements.complete_nodes(self.id, items))


class LimitedHand(Hand):
    """A ``Hand`` that can also claim by turns and under limits.

    ``take`` claims by turns, beginning after the key ``after``. If ``after`` is None, it claims jobs without keys.
    """

    def take(self, count: int = 100, *, after: str | None = "", priority: int = 0) -> list[Attempt]:
        lane = (self.queue, priority)
        found = run(self.db, statements.claim_limited(self.id, self.tasks, lane, after, count))
        return [Attempt(self.id, row) for row in found.rows]

    def complete(self, *attempts: Attempt) -> None:
        items = sorted((attempt.id, attempt.lease_id, True) for attempt in attempts)
        assert len(run(self.db, statements.complete(self.id, items))) == len(attempts)


def finish_one(db: Connection[Any], outcome: Outcome = COMPLETED, task: str = "refresh") -> None:
    """Claims the only due job of this task, and settles it."""
    hand = Hand(db, [task])
    [claimed] = hand.claim()
    assert hand.settle(claimed, outcome)


def make_one_dead(db: Connection[Any], job_id: int, error: str = "boom", task: str = "greet") -> None:
    """Makes this job dead, and releases the other jobs that are claimed with it."""
    hand = Hand(db, [task])
    for attempt in hand.claim(100):
        outcome = (
            Outcome.dead("permanent_error", ValueError(error)) if attempt.id == job_id else Outcome.released()
        )
        hand.settle(attempt, outcome)
