"""Jobs keep the version under which they stored their first checkpoint, and only workers that accept this version claim them again."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.model.steps import Checkpoint
from pgqueue.model.versions import Versions
from pgqueue.worker.attempt import Attempt
from tests.factories import add_jobs
from tests.worker_by_hand import Hand, LimitedHand

KEYS: dict[str, dict[str, Any]] = {
    "no key": {}, "a key": {"concurrency_key": "a"}, "an ordering": {"concurrency_key": "a", "ordering": "block"},
}  # fmt: skip


def hand_of(db: Connection[Any], *accepts: int) -> LimitedHand:
    return LimitedHand(db, ["t"], versions=Versions("1", tuple(f"t@{version}" for version in accepts)))


def step(version: int | None, name: str = "a") -> Checkpoint:
    return Checkpoint("step", name, "", 1, "1", version)


def store(hand: Hand, attempt: Attempt, *made: Checkpoint) -> None:
    run(hand.db, statements.store_checkpoints([(hand.id, attempt.id, attempt.lease_id, one) for one in made]))


def retry(db: Connection[Any], hand: Hand, attempt: Attempt) -> None:
    assert hand.settle(attempt, Outcome.retried(0.0, ValueError("x")))
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp() - interval '1 s'")


def job_of(db: Connection[Any], version: int | None = 3, **columns: Any) -> int:
    """Returns a due job with a checkpoint of a version."""
    [job_id] = add_jobs(db, **columns)
    hand = hand_of(db)
    [attempt] = hand.take() if "concurrency_key" in columns else hand.claim()
    store(hand, attempt, step(version))
    retry(db, hand, attempt)
    return job_id


def version_of(db: Connection[Any], job_id: int) -> int | None:
    [found] = db.execute("select version from pgqueue.jobs where id = %s", [job_id])
    version: int | None = found[0]
    return version


@pytest.mark.parametrize("keys", KEYS)
def test_only_a_worker_that_accepts_the_version_of_a_job_claims_it(db: Connection[Any], keys: str) -> None:
    job_id = job_of(db, **KEYS[keys])

    def claim(hand: LimitedHand) -> list[Attempt]:
        return hand.take() if KEYS[keys] else hand.claim()

    assert claim(hand_of(db)) == []
    assert claim(hand_of(db, 4, 5)) == []
    assert [attempt.id for attempt in claim(hand_of(db, 3, 4))] == [job_id]


def test_a_claim_under_a_limit_leaves_out_versions_that_the_worker_does_not_accept(
    db: Connection[Any],
) -> None:
    db.execute("insert into pgqueue.limits (per_key, queue, concurrency) values (false, 'default', 5)")
    [job_id] = add_jobs(db)
    db.execute("update pgqueue.jobs_live set version = 3")
    assert hand_of(db, 4).take(after=None) == []
    assert [attempt.id for attempt in hand_of(db, 3).take(after=None)] == [job_id]


def test_a_job_of_another_version_does_not_stop_the_jobs_behind_it(db: Connection[Any]) -> None:
    job_of(db)
    job_of(db, concurrency_key="a")
    plain, keyed = add_jobs(db), add_jobs(db, concurrency_key="a")
    hand = hand_of(db, 4)
    assert [attempt.id for attempt in hand.claim()] == plain
    assert [attempt.id for attempt in hand.take()] == keyed


def test_an_ordered_job_of_another_version_keeps_its_place(db: Connection[Any]) -> None:
    first = job_of(db, **KEYS["an ordering"])
    add_jobs(db, **KEYS["an ordering"])
    assert hand_of(db, 4).take() == []
    assert [attempt.id for attempt in hand_of(db, 3).take()] == [first]


def test_the_first_checkpoint_gives_a_job_its_version_and_later_ones_do_not_change_it(
    db: Connection[Any],
) -> None:
    plain, first, later = (add_jobs(db)[0] for _ in range(3))
    hand = hand_of(db, 3)
    attempts = {attempt.id: attempt for attempt in hand.claim()}
    run(db, statements.store_checkpoints([
        (hand.id, job_id, attempts[job_id].lease_id, step(version))
        for job_id, version in ((plain, None), (first, 3), (later, 3))
    ]))  # fmt: skip
    assert [version_of(db, job_id) for job_id in (plain, first, later)] == [None, 3, 3]
    store(hand, attempts[later], step(4, "b"), step(4, "c"))
    assert version_of(db, later) == 3
    alone = [
        statements.store_checkpoint(hand.id, job_id, attempts[job_id].lease_id, step(4, "d"))
        for job_id in (plain, later)
    ]
    assert [run(db, one) for one in alone] == [False, True]
    found = db.execute("select name, version from pgqueue.checkpoints where job_id = %s order by 1", [later])
    assert found.fetchall() == [("a", 3), ("b", 4), ("c", 4), ("d", 4)]


def test_a_checkpoint_that_is_refused_gives_no_version(db: Connection[Any]) -> None:
    [job_id] = add_jobs(db)
    hand = hand_of(db, 3)
    [attempt] = hand.claim()
    run(db, statements.store_checkpoints([(hand.id, job_id, attempt.lease_id + 2, step(3))]))
    assert version_of(db, job_id) is None


@pytest.mark.parametrize("kind", ["effect", "cursor"])
def test_a_checkpoint_in_a_transaction_of_the_handler_gives_the_version_when_it_commits(
    db: Connection[Any], kind: str
) -> None:
    [job_id] = add_jobs(db)
    hand = hand_of(db, 3)
    [attempt] = hand.claim()
    lease = hand.id, job_id, attempt.lease_id
    with db.transaction():
        if kind == "effect":
            run(db, statements.store_effect(*lease, Checkpoint("effect", "a", "", 1, "1", 3)))
        else:
            run(db, statements.save_cursor(*lease, "1", 3))
        assert version_of(db, job_id) is None, "before the commit, the row of the job is not locked"
    assert version_of(db, job_id) == 3
    assert db.execute("select version from pgqueue.checkpoints").fetchall() == [(3,)]


def test_a_job_keeps_its_version_when_it_is_retried_rescued_made_dead_and_revived(
    db: Connection[Any],
) -> None:
    job_id = job_of(db)
    hand = hand_of(db, 3)
    [attempt] = hand.claim()
    assert attempt.job().version == 3
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [hand.id])
    run(db, statements.rescue(9, 10))
    hand = hand_of(db, 3)
    [attempt] = hand.claim()
    assert hand.settle(attempt, Outcome.dead("permanent_error", ValueError("x")))
    assert version_of(db, job_id) == 3
    assert run(db, statements.revive(job_id)) == "revived"
    assert version_of(db, job_id) == 3
    assert hand_of(db, 4).claim() == []


def test_a_job_whose_last_checkpoint_is_forgotten_has_no_version(db: Connection[Any]) -> None:
    job_id = job_of(db)
    hand = hand_of(db, 3)
    [attempt] = hand.claim()
    store(hand, attempt, step(3, "b"))
    assert hand.settle(attempt, Outcome.dead("permanent_error", ValueError("x")))
    assert run(db, statements.forget_step(job_id, "a", ""))
    assert version_of(db, job_id) == 3
    assert run(db, statements.forget_step(job_id, "b", ""))
    assert version_of(db, job_id) is None
    assert run(db, statements.revive(job_id)) == "revived"
    assert [attempt.id for attempt in hand_of(db).claim()] == [job_id]


def test_a_running_job_keeps_its_version_although_its_last_checkpoint_is_forgotten(
    db: Connection[Any],
) -> None:
    job_id = job_of(db)
    hand_of(db, 3).claim()
    assert run(db, statements.forget_step(job_id, "a", ""))
    assert version_of(db, job_id) == 3


def test_a_drain_does_not_wait_for_jobs_of_versions_that_the_worker_does_not_accept(
    db: Connection[Any],
) -> None:
    job_of(db)
    assert run(db, statements.count_unclaimed(["default"], ["t", "t@4"])) == (0, 0)
    assert run(db, statements.count_unclaimed(["default"], ["t", "t@3"])) == (1, 0)


def test_why_and_the_unserved_jobs_name_the_version_that_no_worker_accepts(db: Connection[Any]) -> None:
    job_id = job_of(db)
    db.execute("update pgqueue.workers set state = 'stopped', app_version = '2026.11.29', accepts = '{t@3}'")
    hand_of(db, 4)
    found = run(db, statements.why(job_id))
    assert found.reason == "unaccepted_version"
    assert found.sentence.startswith(
        "Its checkpoints are of version 3, and no living worker accepts it; the last one that did was worker"
    )
    assert "(version 2026.11.29 of its app)" in found.sentence
    assert found.do == "start a worker whose task t accepts 3: accepts=(…, 3)"
    [gap] = run(db, statements.find_unserved())
    assert (gap.task, gap.count, gap.queue_served, gap.version) == ("t", 1, True, 3)
    [front] = run(db, statements.watch_queues())
    assert (front.task_served, front.version) == (True, 3)
    hand_of(db, 3, 4)
    assert run(db, statements.why(job_id)).reason == "due"
    assert run(db, statements.find_unserved()) == []
    assert [front.version for front in run(db, statements.watch_queues())] == [None]


def test_a_job_whose_task_no_worker_knows_is_not_said_to_have_a_wrong_version(db: Connection[Any]) -> None:
    job_id = job_of(db)
    db.execute("update pgqueue.workers set state = 'stopped'")
    Hand(db, ["another"])
    assert run(db, statements.why(job_id)).reason == "unknown_task"
    [gap] = run(db, statements.find_unserved())
    assert gap.version is None
