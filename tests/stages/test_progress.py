"""Progress is written only under the lease_id of the attempt that reported it, and it is kept for later attempts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from tests.factories import enqueue, look

BOOM = ValueError("boom")


def test_progress_is_written_only_under_the_lease_id_of_the_attempt_that_reported_it(db, hand):
    job = enqueue(db)
    [attempt] = hand.claim()

    def report(worker: int, lease: int, done: int) -> list[int]:
        return run(db, statements.write_progress(worker, [(job, lease, Progress(done, 10, "on"))]))

    assert report(hand.id, attempt.lease_id, 3) == [job]
    assert report(hand.id, attempt.lease_id + 1, 4) == []
    assert report(hand.id + 1, attempt.lease_id, 4) == []
    stored = look(db, job, "progress")
    assert {name: stored[name] for name in ("done", "total", "message")} == {
        "done": 3,
        "total": 10,
        "message": "on",
    }
    assert abs((datetime.fromisoformat(stored["at"]) - datetime.now(UTC)).total_seconds()) < 60
    assert db.execute("select progress ->> 'done' from pgqueue.running").fetchall() == [("3",)]
    hand.settle(attempt, COMPLETED)
    assert report(hand.id, attempt.lease_id, 5) == []
    assert look(db, job, "progress ->> 'done'") == "3"


def test_the_last_progress_is_written_with_the_outcome_and_kept_for_later_attempts(db, hand, app):
    job = enqueue(db)
    [attempt] = hand.claim()
    assert attempt.job().progressed is None
    attempt.note_progress(Progress(3, 10))
    assert hand.settle(attempt, attempt.with_progress(Outcome.retried(0, BOOM)))
    assert look(db, job, "state, progress ->> 'done'") == ("retrying", "3")
    [second] = hand.claim()
    assert second.job().progressed["done"] == 3
    assert hand.settle(second, second.with_progress(Outcome.retried(0, BOOM)))
    [third] = hand.claim()
    third.note_progress(Progress(10, 10))
    assert hand.settle(third, third.with_progress(COMPLETED))
    assert look(db, job, "state, progress ->> 'done'") == ("completed", "10")
    assert app.handle(job).job().progressed["done"] == 10


@pytest.mark.parametrize("outcome", [Outcome.dead("permanent_error", BOOM), Outcome.cancelled("enough")])
def test_progress_is_kept_when_the_job_is_revived(db, hand, outcome, app):
    job = enqueue(db)
    [attempt] = hand.claim()
    attempt.note_progress(Progress(3))
    hand.settle(attempt, attempt.with_progress(outcome))
    assert run(db, statements.revive(job)) == "revived"
    assert hand.claim()[0].job().progressed["done"] == 3


def test_progress_that_python_cannot_read_harms_no_other_job(db, hand, app):
    job, other = enqueue(db), enqueue(db)
    huge = "1" + "0" * 5000
    db.execute("update pgqueue.jobs_live set progress = %s where id = %s", [huge, job])
    claimed = {attempt.id: attempt.job() for attempt in hand.claim()}
    assert claimed[job].progressed == huge
    assert claimed[other].progressed is None
    assert json.loads(json.dumps(claimed[job].args)) == {}
