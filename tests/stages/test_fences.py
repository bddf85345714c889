"""A worker that has lost a job cannot change it under the lost lease_id, even if the worker has claimed the same job again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from tests.factories import add_jobs, add_limit
from tests.stages.test_limits import SEATS
from tests.worker_by_hand import Hand, LimitedHand

WRITES: dict[str, Callable[[Hand, int, int], Any]] = {
    "complete": lambda hand, job, lease: run(hand.db, statements.complete(hand.id, [(job, lease, True)])),
    "complete_nodes": lambda hand, job, lease: run(hand.db, statements.complete_nodes(hand.id, [(job, lease, True, None)])),
    "lock": lambda hand, job, lease: run(hand.db, statements.lock_running_job(hand.id, job, lease)),
    **{
        outcome.state: lambda hand, job, lease, outcome=outcome: run(hand.db, statements.settle(hand.id, [(job, lease, outcome)]))
        for outcome in (
            COMPLETED, Outcome.dead("permanent_error", ValueError("x")), Outcome.cancelled("x"), Outcome.retried(5.0, ValueError("x")),
            Outcome.released(),
        )
    },
}  # fmt: skip
ROWS = "select xmin::text, ctid::text, j.* from pgqueue.jobs j"


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("whose", ["the same worker", "another worker"])
def test_a_former_attempt_writes_nothing(db: Connection[Any], write: str, whose: str) -> None:
    """For example, a thread goes on after it was given up because of its timeout, and ends while the next attempt of its job runs."""
    hand = Hand(db, ["t"])
    add_jobs(db)
    [former] = hand.claim()
    assert hand.settle(former, Outcome.retried(0.0, ValueError("timeout")))
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    now = hand if whose == "the same worker" else Hand(db, ["t"])
    [attempt] = now.claim()
    before = db.execute(ROWS).fetchall()
    assert not WRITES[write](hand, attempt.id, former.lease_id)
    assert db.execute(ROWS).fetchall() == before
    assert WRITES[write](now, attempt.id, attempt.lease_id)


@pytest.mark.parametrize("write", WRITES)
def test_an_attempt_writes_nothing_if_another_worker_has_the_job_under_the_same_lease_id(
    db: Connection[Any], write: str
) -> None:
    """If a crash of the server undoes a claim, the next claim can get the same lease_id. So each write compares the worker's id, too."""
    gone, now = Hand(db, ["t"]), Hand(db, ["t"])
    add_jobs(db)
    with db.transaction(force_rollback=True):
        [undone] = gone.claim()
    [attempt] = now.claim()
    db.execute("update pgqueue.jobs_live set lease_id = %s", [undone.lease_id])
    before = db.execute(ROWS).fetchall()
    assert not WRITES[write](gone, attempt.id, undone.lease_id)
    assert db.execute(ROWS).fetchall() == before
    assert WRITES[write](now, attempt.id, undone.lease_id)


@pytest.mark.parametrize("write", WRITES)
def test_an_attempt_that_has_been_settled_writes_nothing_more(db: Connection[Any], write: str) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    assert hand.settle(attempt, Outcome.retried(60.0, ValueError("x")))
    before = db.execute(ROWS).fetchall()
    assert not WRITES[write](hand, attempt.id, attempt.lease_id)
    assert db.execute(ROWS).fetchall() == before


@pytest.mark.parametrize("write", ["complete", "complete_nodes", "settle"])
def test_the_outcome_of_a_former_attempt_gives_back_no_seat_of_the_next_attempt(
    db: Connection[Any], write: str
) -> None:
    number = add_limit(db, per_key=True, concurrency=5)
    player = LimitedHand(db, ["t"])
    add_jobs(db, "a")
    [former] = player.take()
    player.settle(former, Outcome.retried(0.0, ValueError("x")))
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    [again] = player.take()
    add_jobs(db, "b")
    [own] = player.take()
    both = sorted([(again.id, former.lease_id, COMPLETED), (own.id, own.lease_id, COMPLETED)])
    if write == "settle":
        assert run(db, statements.settle(player.id, both)) == [own.id]
    elif write == "complete_nodes":
        nodes = [(job, lease, True, None) for job, lease, _ in both]
        assert run(db, statements.complete_nodes(player.id, nodes)) == [own.id]
    else:
        assert run(db, statements.complete(player.id, [(job, lease, True) for job, lease, _ in both])) == [
            own.id
        ]
    assert db.execute(SEATS).fetchall() == [(number, "a", 1)]


def test_progress_of_a_former_attempt_is_not_written(db: Connection[Any]) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db)
    [former] = hand.claim()
    hand.settle(former, Outcome.retried(0.0, ValueError("x")))
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    [attempt] = hand.claim()
    run(db, statements.write_progress(hand.id, [(attempt.id, former.lease_id, Progress(9))]))
    assert db.execute("select progress from pgqueue.jobs_live").fetchone() == (None,)


@pytest.mark.parametrize(
    "change",
    ["expires_at = clock_timestamp() - interval '1 ms'", "state = 'stopped'", "state = 'expired'"],
)
def test_a_lease_that_is_over_is_not_renewed(db: Connection[Any], change: str) -> None:
    hand = Hand(db, ["t"])
    assert run(db, statements.heartbeat(hand.id, 30.0, "running")) is not None
    db.execute(f"update pgqueue.workers set {change}".encode())
    before = db.execute("select w.* from pgqueue.workers w").fetchall()
    assert run(db, statements.heartbeat(hand.id, 30.0, "running")) is None
    assert db.execute("select w.* from pgqueue.workers w").fetchall() == before


@pytest.mark.parametrize("way", ["complete", "settle"])
def test_a_freed_seat_wakes_a_worker(
    db: Connection[Any], connect: Callable[..., Connection[Any]], way: str
) -> None:
    add_limit(db, per_key=True, concurrency=1)
    add_jobs(db, "a", count=2)
    player = LimitedHand(db, ["t"])
    [attempt] = player.take()
    assert player.take() == []
    listener = connect()
    listener.execute("listen pgqueue")
    if way == "complete":
        player.complete(attempt)
    else:
        player.settle(attempt, Outcome.retried(60.0, ValueError("x")))
    assert [note.payload for note in listener.notifies(timeout=20, stop_after=1)] == ["default"]
    assert len(player.take()) == 1
