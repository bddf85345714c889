"""Random batches, on which several connections act at once, end as a model says.

The acts: jobs are added in parts of random sizes, also by running members; members end in any way, are tried again, or are rolled back; batches
are sealed, retried and cancelled. The model knows how many jobs each batch must have. How they ended, their rows say.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests import batches
from tests.batches import FOLLOW_UPS, counts, follow_ups, items, overview, violations
from tests.waiting import wait_until
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish

CONNECTIONS, BATCHES = 4, 3
OUTCOMES = [*[COMPLETED] * 12, DEAD, Outcome.cancelled("asked"), Outcome.retried(0.0, ValueError("again"))]
FOLLOWING = {name: {**job, "task": "follow"} for name, job in FOLLOW_UPS.items()}
CLOSED = "PQ440"


class Model:
    """For each batch, how many jobs were added by transactions that were committed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.added: Counter[int] = Counter()

    def note(self, batch: int, count: int) -> None:
        with self._lock:
            self.added[batch] += count


class Worker:
    """Claims and settles members on a connection of its own. Now and then a member adds others, or a transaction is rolled back."""

    def __init__(self, db: Connection[Any], chance: random.Random, model: Model, adds: int) -> None:
        self.db, self.chance, self.model, self.adds = db, chance, model, adds
        self.hand = Hand(db, ["t"])

    def turn(self) -> bool:
        """Settles some members. Returns whether there were any."""
        claimed = sorted(self.hand.claim(self.chance.choice([1, 5, 20])), key=lambda attempt: attempt.id)
        for start in range(0, len(claimed), 5):
            while not self._settled(claimed[start : start + 5]):
                pass
        return bool(claimed)

    def _settled(self, part: list[Any]) -> bool:
        outcomes = [(a.id, a.lease_id, self.chance.choice(OUTCOMES)) for a in part]
        added: Counter[int] = Counter()
        try:
            with self.db.transaction():
                for attempt in part:
                    if self.adds > 0 and self.chance.random() < 0.1:
                        count = self.chance.randint(1, 5)
                        batches.add(self.db, attempt.rare.workflow_id, items(count), attempt.id)
                        added[attempt.rare.workflow_id] += count
                        self.adds -= 1
                run(self.db, statements.settle(self.hand.id, outcomes))
                if self.chance.random() < 0.1:
                    raise psycopg.Rollback
        except psycopg.Error as error:
            if error.sqlstate != CLOSED:  # the batch was cancelled meanwhile
                raise
            return False
        if not self._is_committed(part):
            return False
        for batch, count in added.items():
            self.model.note(batch, count)
        return True

    def _is_committed(self, part: list[Any]) -> bool:
        held = self.db.execute(
            "select count(*) from pgqueue.jobs_live where worker_id = %s and id = any(%s)",
            [self.hand.id, [attempt.id for attempt in part]],
        ).fetchone()
        return held == (0,)


def fill(db: Connection[Any], chance: random.Random, model: Model, batch: int) -> None:
    """Adds parts to an open batch, and seals it in the end, unless it was cancelled."""
    try:
        for _ in range(chance.randint(0, 6)):
            count = chance.choice([0, 1, 1, 3, 20, 60])
            with db.transaction():
                batches.add(db, batch, items(count))
                if chance.random() < 0.1:
                    count = 0
                    raise psycopg.Rollback
            model.note(batch, count)
        batches.seal(db, batch)
    except psycopg.Error as error:
        if error.sqlstate != CLOSED:
            raise


@pytest.mark.parametrize("seed", range(8))
def test_random_batches_under_adds_ends_seals_retries_and_cancels_end_as_the_model_says(
    db: Connection[Any], connect: Callable[..., Connection[Any]], seed: int
) -> None:
    numbers = [batches.store(db, open=True, **FOLLOWING) for _ in range(BATCHES)]
    model = Model()
    workers = [Worker(connect(), random.Random(f"{seed} {n}"), model, 5) for n in range(CONNECTIONS)]
    is_disturbed = seed % 2 == 1

    def disturb() -> None:
        other, own = connect(), random.Random(f"{seed} disturb")
        for _ in range(15):
            act = own.choice(["retry_workflow(%s)"] * 4 + ["cancel_workflow(%s)"])
            other.execute(f"select pgqueue.{act}".encode(), [own.choice(numbers)])

    def is_over(worker: Worker) -> bool:
        while worker.turn():
            pass
        finish(worker.db)
        run(
            worker.db, statements.finish_overdue(100)
        )  # members that were asked to stop while their attempt ended
        return not db.execute("select from pgqueue.jobs_live where task = 't' limit 1").fetchall() and all(
            filling.done() for filling in fillings
        )

    with ThreadPoolExecutor(CONNECTIONS + BATCHES + 1) as pool:
        fillings = [
            pool.submit(fill, connect(), random.Random(f"{seed} {number}"), model, number)
            for number in numbers
        ]
        if is_disturbed:
            fillings.append(pool.submit(disturb))
        ends = [pool.submit(wait_until, lambda worker=worker: is_over(worker), 90) for worker in workers]
        for done in [*fillings, *ends]:
            done.result()
    wait_until(lambda: not any(worker.turn() for worker in workers) and not finish(db))
    assert violations(db) == {}
    for number in numbers:
        jobs, unfinished, completed, failed = counts(db, number)
        assert (jobs, unfinished) == (model.added[number], 0)
        rows = Counter(
            state
            for (state,) in db.execute(
                "select state from pgqueue.jobs where workflow_id = %s and task = 't'", [number]
            )
        )
        assert (completed, failed) == (rows["completed"], rows["dead"] + rows["cancelled"])
        found, state = follow_ups(db, number), overview(db, number)
        assert state in ("cancelled", "failed" if failed else "completed")
        if not is_disturbed:
            assert found == (["on_failure", "on_end"] if failed else ["on_success", "on_end"])
        stored = db.execute(
            "select count(*) from pgqueue.jobs where workflow_id = %s and task = 'follow'", [number]
        ).fetchone()
        assert stored == (len(found),)

    # What failed is retried, and completes. Then on_success follows, unless it has followed before.
    for number in numbers:
        batches.retry(db, number)
    hand = Hand(db, ["t"])
    while claimed := hand.claim(100):
        for attempt in claimed:
            assert hand.settle(attempt, COMPLETED)
    for number in numbers:
        jobs = model.added[number]
        if overview(db, number) != "cancelled":  # a cancelled batch without jobs has nothing to retry
            assert (overview(db, number), counts(db, number)) == ("completed", (jobs, 0, jobs, 0))
            assert {"on_success", "on_end"} <= set(follow_ups(db, number))
    assert violations(db) == {}
