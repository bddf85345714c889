"""Claim, settle, rescue, heartbeat and cancel against each other, each pair in both orders."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import row
from tests.races.two_connections import Players, claim, does, enqueue, expire, register, settle
from tests.waiting import wait_until

RESCUE = statements.rescue(3, 10)
RETRIED = Outcome.retried(0.0, ValueError("no"))
SNOOZED = Outcome.snoozed(0.0)


def claimed(players: Players) -> tuple[int, int, int]:
    """(worker, job, lease) of a running job."""
    worker_id, job_id = register(players.db), enqueue(players.db)
    [claimed_row] = run(players.db, claim(worker_id))
    return worker_id, job_id, claimed_row[1]


def test_two_claims_share_what_there_is_without_waiting(players: Players) -> None:
    job_ids = {enqueue(players.db) for _ in range(6)}
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(does(claim(workers[0], 4)), does(claim(workers[1], 4)))
    assert not waited
    assert len(first) == 4
    assert len(second) == 2
    assert {found[0] for found in (*first, *second)} == job_ids


def test_two_claims_of_one_job(players: Players) -> None:
    job_id = enqueue(players.db)
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(does(claim(workers[0])), does(claim(workers[1])))
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id, "worker_id, lease_id, attempt") == (workers[0], first[0][1], 1)


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_settle_then_rescue(players: Players, outcome: Outcome) -> None:
    """The lease is over, but no rescue has taken the job: the worker may still end it, and the rescue passes it by."""
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    settled, rescued, waited = players.race(does(settle(worker_id, job_id, lease_id, outcome)), does(RESCUE))
    assert not waited
    assert settled == [job_id]
    assert rescued == []
    assert row(players.db, job_id) == (outcome.state,)
    assert run(players.db, RESCUE) == []


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_rescue_then_settle(players: Players, outcome: Outcome) -> None:
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    rescued, settled, waited = players.race(does(RESCUE), does(settle(worker_id, job_id, lease_id, outcome)))
    assert waited
    assert [job.id for job in rescued] == [job_id]
    assert settled == []
    assert row(players.db, job_id, "state, lease_id, attempt, crash_count") == ("retrying", lease_id, 1, 1)


def test_settle_of_a_lease_that_was_claimed_again(players: Players) -> None:
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    run(players.db, RESCUE)
    other = register(players.db)
    again, settled, waited = players.race(
        does(claim(other)), does(settle(worker_id, job_id, lease_id, COMPLETED))
    )
    assert not waited
    assert again[0][1] > lease_id
    assert settled == []
    assert row(players.db, job_id, "state, worker_id, lease_id") == ("running", other, again[0][1])


def test_rescue_then_claim(players: Players) -> None:
    """No session waits: the next claim finds the job."""
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    other = register(players.db)
    rescued, found, waited = players.race(does(RESCUE), does(claim(other)))
    assert not waited
    assert len(rescued) == 1
    assert found == []
    [again] = run(players.db, claim(other))
    assert again[0] == job_id
    assert again[1] > lease_id


def test_two_rescues(players: Players) -> None:
    worker_id, job_id, _ = claimed(players)
    expire(players.db, worker_id)
    first, second, waited = players.race(does(RESCUE), does(RESCUE))
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id, "crash_count") == (1,)


def test_heartbeat_then_rescue(players: Players) -> None:
    """The last moment: the heartbeat has renewed the lease, but not committed, when the rescuer looks."""
    worker_id, job_id, _ = claimed(players)
    players.db.execute(
        "update pgqueue.workers set expires_at = clock_timestamp() + interval '0.3 s' where id = %s",
        [worker_id],
    )

    def is_over() -> bool:
        found = players.db.execute(
            "select expires_at < clock_timestamp() from pgqueue.workers where id = %s", [worker_id]
        ).fetchone()
        return bool(found and found[0])

    def rescue_when_over(connection: Connection[Any]) -> Any:
        wait_until(is_over)
        return run(connection, RESCUE)

    beat, rescued, _ = players.race(does(statements.heartbeat(worker_id, 30, "running")), rescue_when_over)
    assert beat is not None
    assert rescued == []
    assert run(players.db, RESCUE) == []
    assert row(players.db, job_id) == ("running",)


def test_rescue_then_heartbeat(players: Players) -> None:
    """The heartbeat waits for the verdict and learns that its lease is gone."""
    worker_id, job_id, _ = claimed(players)
    expire(players.db, worker_id)
    rescued, beat, _ = players.race(does(RESCUE), does(statements.heartbeat(worker_id, 30, "running")))
    assert len(rescued) == 1
    assert beat is None
    assert row(players.db, job_id) == ("retrying",)


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_settle_then_cancel(players: Players, outcome: Outcome) -> None:
    """Cancel waits, and then acts on what it finds."""
    worker_id, job_id, lease_id = claimed(players)
    settled, said, waited = players.race(
        does(settle(worker_id, job_id, lease_id, outcome)), does(statements.cancel(job_id))
    )
    assert waited
    assert settled == [job_id]
    end = "completed" if outcome is COMPLETED else "cancelled"
    assert said == end
    assert row(players.db, job_id) == (end,)


def test_cancel_then_completion(players: Players) -> None:
    """A cancel of a running job is a request. If the job completes before its worker hears of it, it stays completed."""
    worker_id, job_id, lease_id = claimed(players)
    said, settled, waited = players.race(
        does(statements.cancel(job_id)), does(settle(worker_id, job_id, lease_id, COMPLETED))
    )
    assert waited
    assert said == "requested"
    assert settled == [job_id]
    assert row(players.db, job_id) == ("completed",)


@pytest.mark.parametrize("outcome", [RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_requested_cancel_outlives_the_attempt(players: Players, outcome: Outcome) -> None:
    """The attempt ends before its worker hears of the cancel: the job must not run again."""
    worker_id, job_id, lease_id = claimed(players)
    assert run(players.db, statements.cancel(job_id)) == "requested"
    assert run(players.db, settle(worker_id, job_id, lease_id, outcome)) == [job_id]
    assert row(players.db, job_id) == ("cancelled",)


@pytest.mark.parametrize("outcome", [RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_cancel_then_settle(players: Players, outcome: Outcome) -> None:
    """The request commits while the settle waits for the row: the job goes back, is never claimed again, and is swept."""
    worker_id, job_id, lease_id = claimed(players)
    said, settled, waited = players.race(
        does(statements.cancel(job_id)), does(settle(worker_id, job_id, lease_id, outcome))
    )
    assert waited
    assert said == "requested"
    assert settled == [job_id]
    if row(players.db, job_id) != ("cancelled",):
        assert run(players.db, claim(worker_id)) == []
        assert [swept.reason for swept in run(players.db, statements.finish_overdue(10))] == ["cancelled"]
    assert row(players.db, job_id) == ("cancelled",)


def test_claim_then_cancel(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    found, said, waited = players.race(does(claim(worker_id)), does(statements.cancel(job_id)))
    assert waited
    assert len(found) == 1
    assert said == "requested"
    assert row(players.db, job_id, "state, cancel_requested") == ("running", True)


def test_cancel_then_claim(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    said, found, waited = players.race(does(statements.cancel(job_id)), does(claim(worker_id)))
    assert not waited
    assert said == "cancelled"
    assert found == []
    assert row(players.db, job_id) == ("cancelled",)


def test_cancel_then_rescue(players: Players) -> None:
    worker_id, job_id, _ = claimed(players)
    assert run(players.db, statements.cancel(job_id)) == "requested"
    expire(players.db, worker_id)
    [rescued] = run(players.db, RESCUE)
    assert (rescued.id, rescued.state) == (job_id, "cancelled")


@pytest.mark.parametrize("ended", ["cancelled", "dead"])
def test_two_revivals(players: Players, ended: str) -> None:
    worker_id, job_id, lease_id = claimed(players)
    outcome = (
        Outcome.cancelled("enough")
        if ended == "cancelled"
        else Outcome.dead("permanent_error", ValueError("no"))
    )
    assert run(players.db, settle(worker_id, job_id, lease_id, outcome)) == [job_id]
    first, second, waited = players.race(does(statements.revive(job_id)), does(statements.revive(job_id)))
    assert waited
    assert (first, second) == ("revived", "pending")
    assert row(players.db, job_id, "state, lease_id, attempt") == ("pending", lease_id, 0)
    [again] = run(players.db, claim(worker_id))
    assert again[1] > lease_id


# ---------------------------------------------------------------- edit, expiry


def bounded(players: Players, column: str) -> int:
    """A job whose expiry or deadline has just passed."""
    job_id = enqueue(players.db)
    players.db.execute(
        f"update pgqueue.jobs_live set {column} = clock_timestamp() - interval '1 ms' where id = %s".encode(),
        [job_id],
    )
    return job_id


def test_claim_then_edit(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    found, said, waited = players.race(does(claim(worker_id)), does(statements.edit(job_id, {"priority": 5})))
    assert waited
    assert len(found) == 1
    assert said == "running"
    assert row(players.db, job_id, "state, priority") == ("running", 0)


def test_edit_of_a_running_job_then_settle(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    [found] = run(players.db, claim(worker_id))
    said, settled, waited = players.race(
        does(statements.edit(job_id, {"priority": 5})), does(settle(worker_id, job_id, found[1], COMPLETED))
    )
    assert (said, settled, waited) == ("running", [job_id], False)


def test_edit_then_claim(players: Players) -> None:
    """The claim passes the job by, and the next claim finds the edited job."""
    job_id, worker_id = enqueue(players.db), register(players.db)
    said, found, waited = players.race(
        does(statements.edit(job_id, {"args": {"a": 1}})), does(claim(worker_id))
    )
    assert not waited
    assert said == "edited"
    assert found == []
    [again] = run(players.db, claim(worker_id))
    assert again[5] == '{"a": 1}'


@pytest.mark.parametrize("column", ["expires_at", "deadline_at"])
def test_edit_then_sweep(players: Players, column: str) -> None:
    """An edit that gives the job more time in the last moment wins."""
    job_id = bounded(players, column)
    option = column.removesuffix("_at")
    said, swept, waited = players.race(
        does(statements.edit(job_id, {option: 60})), does(statements.finish_overdue(10))
    )
    assert not waited
    assert (said, swept) == ("edited", [])
    assert run(players.db, statements.finish_overdue(10)) == []
    assert row(players.db, job_id) == ("pending",)


@pytest.mark.parametrize(("column", "end"), [("expires_at", "cancelled"), ("deadline_at", "dead")])
def test_sweep_then_edit(players: Players, column: str, end: str) -> None:
    job_id = bounded(players, column)
    option = column.removesuffix("_at")
    swept, said, waited = players.race(
        does(statements.finish_overdue(10)), does(statements.edit(job_id, {option: 60}))
    )
    assert waited
    assert [job.id for job in swept] == [job_id]
    assert said == end
    assert row(players.db, job_id) == (end,)


@pytest.mark.parametrize(("column", "end"), [("expires_at", "cancelled"), ("deadline_at", "dead")])
def test_two_sweeps(players: Players, column: str, end: str) -> None:
    job_id = bounded(players, column)
    first, second, waited = players.race(
        does(statements.finish_overdue(10)), does(statements.finish_overdue(10))
    )
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id) == (end,)


def test_sweep_then_cancel(players: Players) -> None:
    job_id = bounded(players, "deadline_at")
    _, said, waited = players.race(does(statements.finish_overdue(10)), does(statements.cancel(job_id)))
    assert waited
    assert said == "dead"
    assert row(players.db, job_id) == ("dead",)
