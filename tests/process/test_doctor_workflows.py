"""``pgq doctor`` reports workflows that cannot end, each with a remedy that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.maintenance.workflows import START
from pgqueue.model.outcome import COMPLETED
from pgqueue.ui.cli.doctor import Finding, examine
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish, group, ids, node, overview, run_due, store, violations


def findings(dsn: str) -> list[Finding]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return [found for found in examine(connection, dsn) if found.what.startswith("Workflow")]


def remedy(finding: Finding) -> str:
    """Returns the SQL of the finding's remedy, which ends at the last semicolon."""
    return finding.do[: finding.do.rindex(";")]


def test_doctor_reports_nothing_about_workflows_in_any_normal_state(dsn: str, db: Connection[Any]) -> None:
    hand = Hand(db, ["t"])
    store(db, node("a"), node("b", "a"), group("g", "a", "b"), node("c", "g"), node("d", "g", when="failed"))
    store(db, group("empty"), node("a", "empty"))
    assert findings(dsn) == []
    [first, second] = hand.claim()
    assert hand.settle(first, DEAD)
    assert findings(dsn) == []
    assert hand.settle(second, DEAD)
    assert findings(dsn) == []
    stopped = store(db, node("a"), node("b", "a"), on_failure="stop")
    run_due(db, hand, {"a": DEAD}, stopped)
    assert findings(dsn) == [], "the worker lives, so the leader ends what is open"


WRONG = {
    "update pgqueue.nodes set unmet = unmet + 1 where name = 'c'": "counters",
    "update pgqueue.nodes set failed = failed + 1 where name = 'g'": "counters",
    # The two updates are what resolve() would have done: it counted, but it did not go on.
    "update pgqueue.nodes set unmet = 0 where name = 'c'; update pgqueue.nodes set unmet = 0, state = 'completed' where name = 'g'": "go on",
    "update pgqueue.nodes set unmet = 0 where name = 'g'": "go on",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_doctor_reports_a_node_that_nothing_releases_and_its_remedy_lets_the_workflow_end(
    dsn: str, db: Connection[Any], wrong: str
) -> None:
    workflow = store(db, node("a"), node("b"), group("g", "a", "b"), node("c", "g"))
    hand = Hand(db, ["t"])
    is_late = WRONG[wrong] == "go on"
    if is_late:
        run_alone(db, hand, 2)
    db.execute(wrong.encode())
    found = findings(dsn)
    assert [(finding.level, WRONG[wrong] in finding.what) for finding in found] == [("error", True)]
    assert f"Workflow {workflow} (flow) cannot end: node " in found[0].what
    db.execute(remedy(found[0]).encode())
    finish(db)
    assert findings(dsn) == []
    run_due(db, hand)
    assert overview(db, workflow) == "completed"
    assert violations(db) == {}


def run_alone(db: Connection[Any], hand: Hand, count: int) -> None:
    """Runs jobs, and ends their nodes without counting at those behind them."""
    claimed = hand.claim()
    assert len(claimed) == count
    for attempt in claimed:
        db.execute("update pgqueue.jobs_live set workflow_id = null where id = %s", [attempt.id])
        assert hand.settle(attempt, COMPLETED)
        db.execute(
            "update pgqueue.nodes set state = 'completed', ended_at = now() where id = %s", [attempt.id]
        )
        db.execute(
            "update pgqueue.jobs_done set workflow_id = (select n.workflow_id from pgqueue.nodes n where n.id = %s) where id = %s",
            [attempt.id, attempt.id],
        )


def test_doctor_reports_a_node_whose_job_is_gone(dsn: str, db: Connection[Any]) -> None:
    store(db, node("a"), node("b", "a"))
    db.execute("delete from pgqueue.jobs_live where state = 'pending'")
    [found] = findings(dsn)
    assert (found.level, "node a" in found.what, "its job is gone" in found.what) == ("warn", True, True)
    assert run(db, statements.mend_nodes(START, 100)).mended
    assert findings(dsn) == []


def test_doctor_reports_what_is_left_to_a_leader_if_no_worker_lives(
    dsn: str, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    hand = Hand(db, ["t"])
    locked = store(db, node("a"), node("b", "a"))
    stopped = store(db, node("a"), node("b", "a"), node("c"), name="other", on_failure="stop")
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live where id = %s for update", [ids(db, locked)["b"]])
    for attempt in hand.claim():
        outcome = DEAD if attempt.id == ids(db, stopped)["a"] else COMPLETED
        if attempt.id != ids(db, stopped)["c"]:
            hand.settle(attempt, outcome)
    db.execute(
        "update pgqueue.jobs_live set state = 'retrying', worker_id = null where id = %s",
        [ids(db, stopped)["c"]],
    )
    assert findings(dsn) == [], "the worker lives, and leads"
    run(db, statements.stop_worker(hand.id))
    assert [(found.level, found.what.split()[1], found.do) for found in findings(dsn)] == [
        ("warn", str(locked), "start a worker: pgq work -A module:app"),
        ("warn", str(stopped), "start a worker: pgq work -A module:app"),
    ]
    other.rollback()
    finish(db)
    assert findings(dsn) == []
