"""The ``Job`` that a handler gets has the values of the job's row. This holds for every way of claiming, and also in a child process."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from tests import workflows
from tests.worker_by_hand import Hand

OPTIONS: dict[str, Any] = {"unique_key": "u", "tags": ["a", "b"], "meta": {"fire_at": "x"}, "deadline": "1h"}
FACTS = (
    "id",
    "queue",
    "task",
    "max_attempts",
    "created_at",
    "crash_count",
    "run_at",
    "lease_id",
    "worker_id",
    "state",
    "args",
    "attempt",
    "concurrency_key",
    "deadline_at",
    "meta",
    "priority",
    "tags",
    "timeout",
    "unique_key",
)


def facts_of(attempt: Attempt, app: App) -> dict[str, Any]:
    job = attempt.job(AttemptLease(attempt, app))
    return {name: getattr(job, name) for name in FACTS}


@pytest.mark.parametrize("name", ["unique_key", "tags", "meta", "deadline"])
@pytest.mark.parametrize("key", [None, "tenant:7"])
def test_the_job_that_a_handler_gets_has_the_values_of_its_row(
    db: Connection[Any], app: App, name: str, key: str | None
) -> None:
    @app.task(name="t")
    def t() -> None: ...

    handle = t.using(concurrency_key=key, **{name: OPTIONS[name]}).enqueue()
    hand = Hand(db, ["t"])
    if key is None:
        [claimed] = hand.claim()
    else:
        [row] = run(db, statements.claim_limited(hand.id, ["t"], ("default", 0), "", 1)).rows
        claimed = Attempt(hand.id, row)
    [again] = (Attempt(hand.id, row) for row in run(db, statements.find_lost_claims(hand.id, [])))
    child = Attempt(hand.id, claimed.row())
    stored = handle.job()
    expected = {name: getattr(stored, name) for name in FACTS}
    assert [facts_of(attempt, app) for attempt in (claimed, again, child)] == [expected] * 3


@pytest.mark.parametrize("options", [{}, {"tags": ["a"]}])
def test_a_claimed_node_knows_its_workflow_whatever_other_rare_fields_it_has(
    db: Connection[Any], options: dict[str, Any]
) -> None:
    db.execute("select setval(pg_get_serial_sequence('pgqueue.workflows', 'id'), 5, false)")
    assert workflows.store(db, {"task": "t", **options}) == 5
    hand = Hand(db, ["t"])
    [claimed] = hand.claim()
    child = Attempt(hand.id, claimed.row())
    assert [attempt.rare and attempt.rare.workflow_id for attempt in (claimed, child)] == [5, 5]
