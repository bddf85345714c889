"""Tests of rates, of pauses that a handler asks for, and of the order of a key's jobs. They claim and settle jobs without a worker process."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError
from pgqueue.model.outcome import Outcome
from tests.factories import add_jobs, add_limit
from tests.worker_by_hand import LimitedHand

# ------------------------------------------------------------------ rates


@pytest.mark.parametrize("scope", [{"per_key": True}, {"queue": "default"}])
def test_a_rate_lets_its_burst_start_and_then_stores_when_the_next_job_can_start(
    db: Connection[Any], player: LimitedHand, scope: dict[str, Any]
) -> None:
    add_limit(db, rate=1, period="10 min", burst=3, **scope)
    key = "k" if "per_key" in scope else None
    jobs = add_jobs(db, key, count=5)
    after = "" if key else None
    assert [attempt.id for attempt in player.take(after=after)] == jobs[:3]
    assert player.take(after=after) == []
    [(free_in,)] = db.execute("select date_part('epoch', free_at - clock_timestamp()) from pgqueue.seats")
    assert free_in == pytest.approx(600, abs=2)
    db.execute("update pgqueue.seats set full_at = full_at - interval '10 min', free_at = clock_timestamp()")
    assert [attempt.id for attempt in player.take(after=after)] == jobs[3:4]


def test_a_sliding_window_is_full_until_its_oldest_start_leaves_it(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, rate=2, period="1 hour", sliding=True, per_key=True)
    jobs = add_jobs(db, "k", count=4)
    assert [attempt.id for attempt in player.take(1)] == jobs[:1]
    db.execute("update pgqueue.starts set at = at - interval '30 min'")
    assert [attempt.id for attempt in player.take()] == jobs[1:2]
    [(free_in,)] = db.execute("select date_part('epoch', free_at - clock_timestamp()) from pgqueue.seats")
    assert free_in == pytest.approx(1800, abs=2)
    assert player.take() == []
    db.execute("update pgqueue.starts set at = at - interval '30 min'")
    db.execute("update pgqueue.seats set free_at = clock_timestamp()")
    assert [attempt.id for attempt in player.take()] == jobs[2:3]


def test_rate_limited_pauses_the_key_of_the_job_and_the_job_keeps_its_position(
    db: Connection[Any], player: LimitedHand
) -> None:
    jobs, other = add_jobs(db, "k", count=3), add_jobs(db, "l")
    [first, *_] = player.take(1)
    assert player.settle(first, Outcome.rate_limited(3600.0))
    assert [attempt.id for attempt in player.take()] == other
    said = run(db, statements.why(jobs[1]))
    assert said.reason == "rate"
    assert said.sentence.startswith("Its key k is paused until ")
    assert run(db, statements.survey_lanes([], [], [])).later == pytest.approx(3600, abs=5)
    db.execute("update pgqueue.pauses set until = now()")
    again = player.take()
    assert [(attempt.id, attempt.attempt) for attempt in again] == [(job, 1) for job in jobs]


def test_rate_limited_pauses_the_task_if_the_job_has_no_key(db: Connection[Any], player: LimitedHand) -> None:
    jobs, others = add_jobs(db, count=3), add_jobs(db, task="u", count=2)
    [first] = player.claim(1)
    assert player.settle(first, Outcome.rate_limited(3600.0))
    assert run(db, statements.survey_lanes([("default", 0)], [(0.0, 0)], [])).limited == [None]
    assert [attempt.id for attempt in player.take(after=None)] == others
    assert run(db, statements.why(jobs[1])).sentence.startswith("Its task t is paused until ")
    db.execute("update pgqueue.pauses set until = now()")
    assert [attempt.id for attempt in player.take(after=None)] == jobs[1:], (
        "the run_at of the first job is still to come"
    )
    run(db, statements.recount_seats())
    assert db.execute("select * from pgqueue.pauses").fetchall() == []


# ------------------------------------------------------------------ order


def test_jobs_with_ordering_run_one_after_the_other_even_when_one_of_them_is_retried(
    db: Connection[Any], player: LimitedHand
) -> None:
    jobs = add_jobs(db, "k", count=3, ordering="block")
    free = add_jobs(db, "k")
    running = player.take()
    assert sorted(attempt.id for attempt in running) == [jobs[0], *free]
    [first] = [attempt for attempt in running if attempt.id == jobs[0]]
    assert player.take() == []
    player.settle(first, Outcome.retried(3600.0, ValueError("x")))
    assert player.take() == []
    db.execute("update pgqueue.jobs_live set run_at = now() where id = %s", [jobs[0]])
    [first] = player.take()
    assert first.id == jobs[0]
    player.complete(first)
    assert [attempt.id for attempt in player.take()] == jobs[1:2]


@pytest.mark.parametrize("ordering", ["block", "skip"])
def test_a_dead_job_blocks_the_later_jobs_of_its_key_or_is_skipped_depending_on_its_ordering(
    db: Connection[Any], player: LimitedHand, ordering: str
) -> None:
    jobs = add_jobs(db, "k", count=2, ordering=ordering)
    [first] = player.take()
    player.settle(first, Outcome.dead("permanent_error", ValueError("x")))
    if ordering == "skip":
        assert [attempt.id for attempt in player.take()] == jobs[1:]
    else:
        assert player.take() == []
        why = run(db, statements.why(jobs[1]))
        assert (why.reason, why.do) == ("order", f"pgq jobs revive {jobs[0]}")
        assert run(db, statements.revive(jobs[0])) == "revived"
        [first] = player.take()
        assert first.id == jobs[0]
        player.complete(first)
        assert [attempt.id for attempt in player.take()] == jobs[1:]


def test_a_job_that_its_ordering_holds_back_does_not_delay_jobs_of_other_keys(
    db: Connection[Any], player: LimitedHand
) -> None:
    first, second = add_jobs(db, "k", count=2, ordering="skip")
    [attempt] = player.take()
    player.settle(attempt, Outcome.dead("permanent_error", ValueError("x")))
    assert [attempt.id for attempt in player.take()] == [second]
    run(db, statements.revive(first))
    [other] = add_jobs(db, "z")
    assert [attempt.id for attempt in player.take(1, after="j")] == [other]
    assert player.take() == []


def test_two_pairs_of_queue_and_key_are_ordered_separately_even_if_their_joined_names_are_equal(
    db: Connection[Any],
) -> None:
    add_jobs(db, "b:c", ordering="skip", queue="a")
    add_jobs(db, "c", ordering="skip", queue="a:b")
    attempts = [LimitedHand(db, ["t"], queue).take() for queue in ("a", "a:b")]
    assert [len(taken) for taken in attempts] == [1, 1]
    assert run(db, statements.recount_seats()) == []


def test_a_wrong_ordering_or_weight_is_refused(app: App) -> None:
    @app.task(name="t")
    def t() -> None: ...

    with pytest.raises(InvalidOptionError, match="without a concurrency_key"):
        t.using(ordering="block")
    with pytest.raises(InvalidOptionError, match="a dead job does not block the jobs after it"):
        t.using(ordering="strict", concurrency_key="k")
    with pytest.raises(InvalidOptionError, match="from 1 to 1000000000"):
        t.using(weight=0)


def test_why_explains_that_all_seats_are_taken_or_that_the_rate_is_used_up(
    db: Connection[Any], player: LimitedHand
) -> None:
    number = add_limit(db, per_key=True, concurrency=1)
    first, second = add_jobs(db, "k", count=2)
    player.take()
    said = run(db, statements.why(second))
    assert said.reason == "limit"
    assert said.sentence.startswith(
        f"The only seat of limit {number} for its key k is taken, by job {first} since "
    )
    db.execute("delete from pgqueue.limits")
    number = add_limit(db, queue="default", rate=1, period="1 hour")
    third, fourth = add_jobs(db, count=2)
    assert [attempt.id for attempt in player.take(after=None)] == [third]
    said = run(db, statements.why(fourth))
    assert said.reason == "rate"
    assert said.sentence.startswith(f"Limit {number} lets 1 job start every 1 h; the next job can start at ")
    assert said.until is not None
