"""The view job_timeline shows all that happened to a job, also the claims of earlier attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.jobs import TimelineEntry
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.attempt import Attempt
from tests.factories import enqueue
from tests.worker_by_hand import Hand

BOOM = ValueError("boom")


def timeline(db: Connection[Any], job_id: int) -> list[TimelineEntry]:
    return run(db, statements.list_timeline(job_id))


def events(db: Connection[Any], job_id: int) -> list[tuple[str | None, str, str, int]]:
    return [(e.from_state, e.to_state, e.reason, e.attempt) for e in timeline(db, job_id)]


def claimed(db: Connection[Any], hand: Hand) -> Attempt:
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    [attempt] = hand.claim()
    return attempt


def test_the_timeline_shows_the_claim_of_every_attempt_and_each_end(db):
    hand = Hand(db, ["t"])
    job = enqueue(db)
    for outcome in (Outcome.retried(0.0, BOOM), Outcome.snoozed(0.0), Outcome.dead("permanent_error", BOOM)):
        assert hand.settle(claimed(db, hand), outcome)
    db.execute("select pgqueue.revive(%s)", [job])
    attempt = claimed(db, hand)
    expected = [
        (None, "pending", "enqueued", 0),
        ("pending", "running", "claimed", 1),
        ("running", "retrying", "failed", 1),
        ("retrying", "running", "claimed", 2),
        ("running", "pending", "snoozed", 1),
        ("pending", "running", "claimed", 2),
        ("running", "dead", "permanent_error", 2),
        ("dead", "pending", "revived", 2),
        ("pending", "running", "claimed", 1),
    ]
    assert events(db, job) == expected, "while the job runs"
    assert hand.settle(attempt, COMPLETED)
    assert events(db, job) == [*expected, ("running", "completed", "completed", 1)], "when it has ended"
    claims = [entry for entry in timeline(db, job) if entry.reason == "claimed"]
    assert [entry.worker_id for entry in claims] == [hand.id] * 4
    times = [entry.at for entry in timeline(db, job)]
    assert times == sorted(times)
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=10) < at <= now for at in times)


def test_a_claim_is_shown_once_after_its_job_was_edited_or_cancelled_between_two_attempts(db):
    hand = Hand(db, ["t"])
    job = enqueue(db)
    assert hand.settle(claimed(db, hand), Outcome.retried(600.0, BOOM))
    db.execute("""select pgqueue.edit(%s, '{"priority": 3}')""", [job])
    db.execute("select pgqueue.cancel(%s)", [job])
    assert [event[1:3] for event in events(db, job)] == [
        ("pending", "enqueued"),
        ("running", "claimed"),
        ("retrying", "failed"),
        ("retrying", "edited"),
        ("cancelled", "cancelled"),
    ]


def test_the_last_claim_of_a_dead_job_is_shown_when_its_transitions_have_been_deleted(db):
    hand = Hand(db, ["t"])
    job = enqueue(db)
    assert hand.settle(claimed(db, hand), Outcome.dead("permanent_error", BOOM))
    db.execute("delete from pgqueue.transitions")
    assert [event[2] for event in events(db, job)] == ["enqueued", "claimed"]


def test_a_lease_id_that_is_no_time_breaks_no_timeline(db):
    hand = Hand(db, ["t"])
    job = enqueue(db)
    assert hand.settle(claimed(db, hand), Outcome.retried(0.0, BOOM))
    for lease_id in (7, -(2**63), 2**63 - 1):
        db.execute("update pgqueue.transitions set lease_id = %s", [lease_id])
        assert {event[2] for event in events(db, job)} == {"enqueued", "claimed", "failed"}, lease_id
