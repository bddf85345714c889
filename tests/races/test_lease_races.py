"""Races between two transactions. Each transaction claims, settles, rescues, renews a lease, cancels, revives, edits, or finishes overdue jobs.

In most tests, the first transaction executes its statement and stays open, and then the second transaction executes another statement. Most
pairs of statements are tested in both orders.
"""

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
    """Stores a job and claims it; returns (worker id, job id, lease_id)."""
    worker_id, job_id = register(players.db), enqueue(players.db)
    [claimed_row] = run(players.db, claim(worker_id))
    return worker_id, job_id, claimed_row[1]


def test_two_claims_at_the_same_time_take_different_jobs_and_do_not_wait_for_each_other(
    players: Players,
) -> None:
    job_ids = {enqueue(players.db) for _ in range(6)}
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(does(claim(workers[0], 4)), does(claim(workers[1], 4)))
    assert not waited
    assert len(first) == 4
    assert len(second) == 2
    assert {found[0] for found in (*first, *second)} == job_ids


def test_only_one_of_two_claims_gets_the_job(players: Players) -> None:
    job_id = enqueue(players.db)
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(does(claim(workers[0])), does(claim(workers[1])))
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id, "worker_id, lease_id, attempt") == (workers[0], first[0][1], 1)


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_rescue_skips_a_job_that_is_being_settled(players: Players, outcome: Outcome) -> None:
    """The lease has ended, but no rescue has taken the job yet. So its worker can still settle it, and the rescue skips it."""
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    settled, rescued, waited = players.race(does(settle(worker_id, job_id, lease_id, outcome)), does(RESCUE))
    assert not waited
    assert settled == [job_id]
    assert rescued == []
    assert row(players.db, job_id) == (outcome.state,)
    assert run(players.db, RESCUE) == []


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_settle_that_waits_for_a_rescue_changes_nothing(players: Players, outcome: Outcome) -> None:
    worker_id, job_id, lease_id = claimed(players)
    expire(players.db, worker_id)
    rescued, settled, waited = players.race(does(RESCUE), does(settle(worker_id, job_id, lease_id, outcome)))
    assert waited
    assert [job.id for job in rescued] == [job_id]
    assert settled == []
    assert row(players.db, job_id, "state, lease_id, attempt, crash_count") == ("retrying", lease_id, 1, 1)


def test_a_settle_under_an_old_lease_id_changes_nothing_after_the_next_claim(players: Players) -> None:
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


def test_a_claim_skips_a_job_that_is_being_rescued(players: Players) -> None:
    """The claim does not wait for the rescue. The next claim finds the job."""
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


def test_only_one_of_two_rescues_takes_the_job(players: Players) -> None:
    worker_id, job_id, _ = claimed(players)
    expire(players.db, worker_id)
    first, second, waited = players.race(does(RESCUE), does(RESCUE))
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id, "crash_count") == (1,)


def test_a_rescue_takes_no_job_if_a_heartbeat_that_is_not_committed_yet_has_renewed_the_lease(
    players: Players,
) -> None:
    """The heartbeat renews the lease at the last moment. The rescue begins when the lease would have run out without this heartbeat.

    At that time, the heartbeat is not committed yet.
    """
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

    renewed, rescued, _ = players.race(does(statements.heartbeat(worker_id, 30, "running")), rescue_when_over)
    assert renewed is not None
    assert rescued == []
    assert run(players.db, RESCUE) == []
    assert row(players.db, job_id) == ("running",)


def test_a_heartbeat_during_a_rescue_finds_that_its_lease_is_lost(players: Players) -> None:
    """The heartbeat waits for the rescue, and then returns None instead of the worker's id."""
    worker_id, job_id, _ = claimed(players)
    expire(players.db, worker_id)
    rescued, renewed, _ = players.race(does(RESCUE), does(statements.heartbeat(worker_id, 30, "running")))
    assert len(rescued) == 1
    assert renewed is None
    assert row(players.db, job_id) == ("retrying",)


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize("outcome", [COMPLETED, RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_cancel_that_waits_for_a_settle_cancels_the_job_unless_it_is_completed(
    players: Players, outcome: Outcome
) -> None:
    """The cancel acts on the state that the settle has written."""
    worker_id, job_id, lease_id = claimed(players)
    settled, said, waited = players.race(
        does(settle(worker_id, job_id, lease_id, outcome)), does(statements.cancel(job_id))
    )
    assert waited
    assert settled == [job_id]
    end = "completed" if outcome is COMPLETED else "cancelled"
    assert said == end
    assert row(players.db, job_id) == (end,)


def test_a_job_that_completes_during_a_cancel_request_stays_completed(players: Players) -> None:
    """To cancel a running job is to ask its worker to stop it. The job completes before its worker notices the request."""
    worker_id, job_id, lease_id = claimed(players)
    said, settled, waited = players.race(
        does(statements.cancel(job_id)), does(settle(worker_id, job_id, lease_id, COMPLETED))
    )
    assert waited
    assert said == "requested"
    assert settled == [job_id]
    assert row(players.db, job_id) == ("completed",)


@pytest.mark.parametrize("outcome", [RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_job_is_cancelled_if_its_attempt_ends_before_its_worker_sees_the_cancel_request(
    players: Players, outcome: Outcome
) -> None:
    """The attempt ends in a retry or a snooze, but because of the request the job must not run again."""
    worker_id, job_id, lease_id = claimed(players)
    assert run(players.db, statements.cancel(job_id)) == "requested"
    assert run(players.db, settle(worker_id, job_id, lease_id, outcome)) == [job_id]
    assert row(players.db, job_id) == ("cancelled",)


@pytest.mark.parametrize("outcome", [RETRIED, SNOOZED], ids=lambda outcome: outcome.reason)
def test_a_job_that_is_settled_during_a_cancel_request_never_runs_again(
    players: Players, outcome: Outcome
) -> None:
    """The request is committed while the settle waits for the row. Depending on the moment, the settle cancels the job or not.

    If it does not, then no claim takes the job again, and ``finish_overdue`` cancels the job.
    """
    worker_id, job_id, lease_id = claimed(players)
    said, settled, waited = players.race(
        does(statements.cancel(job_id)), does(settle(worker_id, job_id, lease_id, outcome))
    )
    assert waited
    assert said == "requested"
    assert settled == [job_id]
    if row(players.db, job_id) != ("cancelled",):
        assert run(players.db, claim(worker_id)) == []
        assert [ended.reason for ended in run(players.db, statements.finish_overdue(10))] == ["cancelled"]
    assert row(players.db, job_id) == ("cancelled",)


def test_a_cancel_that_waits_for_a_claim_becomes_a_request_to_the_worker(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    found, said, waited = players.race(does(claim(worker_id)), does(statements.cancel(job_id)))
    assert waited
    assert len(found) == 1
    assert said == "requested"
    assert row(players.db, job_id, "state, cancel_requested") == ("running", True)


def test_a_claim_skips_a_job_that_is_being_cancelled(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    said, found, waited = players.race(does(statements.cancel(job_id)), does(claim(worker_id)))
    assert not waited
    assert said == "cancelled"
    assert found == []
    assert row(players.db, job_id) == ("cancelled",)


def test_a_rescued_job_is_cancelled_if_its_cancel_was_requested(players: Players) -> None:
    worker_id, job_id, _ = claimed(players)
    assert run(players.db, statements.cancel(job_id)) == "requested"
    expire(players.db, worker_id)
    [rescued] = run(players.db, RESCUE)
    assert (rescued.id, rescued.state) == (job_id, "cancelled")


@pytest.mark.parametrize("ended", ["cancelled", "dead"])
def test_the_second_of_two_revives_returns_that_the_job_is_pending(players: Players, ended: str) -> None:
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


def overdue(players: Players, column: str) -> int:
    """Stores a job whose expiry or deadline has just passed; returns its id."""
    job_id = enqueue(players.db)
    players.db.execute(
        f"update pgqueue.jobs_live set {column} = clock_timestamp() - interval '1 ms' where id = %s".encode(),
        [job_id],
    )
    return job_id


def test_an_edit_that_waits_for_a_claim_changes_nothing(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    found, said, waited = players.race(does(claim(worker_id)), does(statements.edit(job_id, {"priority": 5})))
    assert waited
    assert len(found) == 1
    assert said == "running"
    assert row(players.db, job_id, "state, priority") == ("running", 0)


def test_a_settle_does_not_wait_for_an_edit_of_the_running_job(players: Players) -> None:
    job_id, worker_id = enqueue(players.db), register(players.db)
    [found] = run(players.db, claim(worker_id))
    said, settled, waited = players.race(
        does(statements.edit(job_id, {"priority": 5})), does(settle(worker_id, job_id, found[1], COMPLETED))
    )
    assert (said, settled, waited) == ("running", [job_id], False)


def test_a_claim_skips_a_job_that_is_being_edited(players: Players) -> None:
    """The next claim finds the edited job."""
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
def test_a_job_is_not_ended_as_overdue_while_an_edit_gives_it_more_time(
    players: Players, column: str
) -> None:
    """The edit has locked the row, so ``finish_overdue`` skips it. After the edit, the job is no longer overdue."""
    job_id = overdue(players, column)
    option = column.removesuffix("_at")
    said, ended, waited = players.race(
        does(statements.edit(job_id, {option: 60})), does(statements.finish_overdue(10))
    )
    assert not waited
    assert (said, ended) == ("edited", [])
    assert run(players.db, statements.finish_overdue(10)) == []
    assert row(players.db, job_id) == ("pending",)


@pytest.mark.parametrize(("column", "end"), [("expires_at", "cancelled"), ("deadline_at", "dead")])
def test_an_edit_that_waits_for_the_end_of_an_overdue_job_changes_nothing(
    players: Players, column: str, end: str
) -> None:
    job_id = overdue(players, column)
    option = column.removesuffix("_at")
    ended, said, waited = players.race(
        does(statements.finish_overdue(10)), does(statements.edit(job_id, {option: 60}))
    )
    assert waited
    assert [job.id for job in ended] == [job_id]
    assert said == end
    assert row(players.db, job_id) == (end,)


@pytest.mark.parametrize(("column", "end"), [("expires_at", "cancelled"), ("deadline_at", "dead")])
def test_only_one_of_two_calls_of_finish_overdue_ends_the_job(
    players: Players, column: str, end: str
) -> None:
    job_id = overdue(players, column)
    first, second, waited = players.race(
        does(statements.finish_overdue(10)), does(statements.finish_overdue(10))
    )
    assert not waited
    assert (len(first), len(second)) == (1, 0)
    assert row(players.db, job_id) == (end,)


def test_a_cancel_that_waits_for_the_end_of_an_overdue_job_changes_nothing(players: Players) -> None:
    job_id = overdue(players, "deadline_at")
    _, said, waited = players.race(does(statements.finish_overdue(10)), does(statements.cancel(job_id)))
    assert waited
    assert said == "dead"
    assert row(players.db, job_id) == ("dead",)
