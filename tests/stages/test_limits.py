"""Limits and keys, tested with single claims. A claim takes exactly the jobs that are allowed to run.

All seats are given back, and every key gets its turn.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import Connection
from psycopg.errors import CheckViolation

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.ending import OwnCommit
from tests.factories import add_jobs, add_limit
from tests.waiting import wait_until
from tests.worker_by_hand import LimitedHand

SEATS = "select limit_id, key, taken from pgqueue.seats where taken > 0 order by 1, 2"


def keys_of(db: Connection[Any], attempts: list[Attempt]) -> Counter[str]:
    rows = db.execute(
        "select concurrency_key from pgqueue.jobs where id = any(%s)", [[attempt.id for attempt in attempts]]
    )
    return Counter(key for (key,) in rows)


def test_only_a_claim_by_turns_takes_a_job_with_a_key(db: Connection[Any], player: LimitedHand) -> None:
    [keyed], [plain] = add_jobs(db, "a"), add_jobs(db)
    assert [attempt.id for attempt in player.claim()] == [plain]
    assert [attempt.id for attempt in player.take()] == [keyed]


def test_keys_take_turns_however_long_their_backlogs_are(db: Connection[Any], player: LimitedHand) -> None:
    add_jobs(db, "big", count=1000)
    for key in ("a", "b", "c"):
        add_jobs(db, key, count=2)
    first = player.take(8)
    assert keys_of(db, first) == {"a": 2, "b": 2, "c": 2, "big": 2}
    assert keys_of(db, player.take(8)) == {"big": 8}


def test_a_large_claim_takes_a_few_jobs_of_each_key_and_no_more_than_the_limit_of_the_key_allows(
    db: Connection[Any], player: LimitedHand
) -> None:
    for key in range(150):
        add_jobs(db, f"k{key:03}", count=6)
    taken = keys_of(db, player.take(400))
    assert taken == {f"k{key:03}": 4 for key in range(100)}
    add_limit(db, per_key=True, concurrency=2)
    taken = keys_of(db, player.take(400, after="k099"))
    assert taken == {f"k{key:03}": 2 for key in range(150)}, (
        "jobs that were claimed before the limit was set are not counted"
    )


def test_a_claim_by_turns_begins_after_the_last_key_of_the_previous_claim(
    db: Connection[Any], player: LimitedHand
) -> None:
    for key in "abcdef":
        add_jobs(db, key, count=5)
    assert keys_of(db, player.take(2)) == {"a": 1, "b": 1}
    assert keys_of(db, player.take(2, after="b")) == {"c": 1, "d": 1}
    assert keys_of(db, player.take(4, after="d")) == {"e": 1, "f": 1, "a": 1, "b": 1}


def test_a_key_whose_limit_is_used_up_gets_no_further_job_until_one_of_its_jobs_ends(
    db: Connection[Any], player: LimitedHand
) -> None:
    number = add_limit(db, per_key=True, concurrency=2)
    add_limit(db, per_key=True, key="vip", concurrency=3)
    for key in ("a", "b", "vip"):
        add_jobs(db, key, count=5)
    running = player.take()
    assert keys_of(db, running) == {"a": 2, "b": 2, "vip": 3}
    assert player.take() == []
    of_a = [attempt for attempt in running if keys_of(db, [attempt]) == {"a": 1}]
    player.complete(of_a[0])
    player.settle(of_a[1], Outcome.retried(0.0, ValueError("x")))
    again = player.take()
    assert keys_of(db, again) == {"a": 2}
    assert db.execute("select seats_taken from pgqueue.jobs where id = %s", [again[0].id]).fetchone() == (
        [number, 1],
    )


def test_limits_of_a_queue_and_of_a_task_apply_to_jobs_without_keys(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, queue="default", concurrency=4)
    add_limit(db, task="t", concurrency=1)
    add_jobs(db, count=3)
    add_jobs(db, task="u", count=9)
    running = player.take(after=None)
    running += player.take(after=None)  # jobs that the task's limit refused took no seat of the queue's limit
    assert Counter(attempt.task for attempt in running) == {"t": 1, "u": 3}
    assert player.take(after=None) == []
    player.complete(*running)
    assert len(player.take(after=None)) == 4


def test_a_backlog_of_a_task_whose_limit_is_used_up_is_parked_and_claimed_by_turns(
    db: Connection[Any], player: LimitedHand
) -> None:
    number = add_limit(db, task="t", concurrency=2)
    crowd, others = add_jobs(db, count=3000), add_jobs(db, task="u", count=3)
    running = player.take(after=None)
    assert [attempt.id for attempt in running] == crowd[:2]
    # Each claim parks for a tenth of a second at most, so several claims can be necessary to park the whole backlog.
    found = wait_until(lambda: player.take(after=None))
    assert [attempt.id for attempt in found] == others
    assert db.execute("select count(*) from pgqueue.jobs where parked").fetchone() == (2998,)
    assert player.take() == []
    assert player.take(after=None) == []
    said = run(db, statements.why(crowd[2]))
    assert said.reason == "limit"
    assert said.sentence.startswith(f"All 2 seats of limit {number} are taken")
    player.settle(running[0], Outcome.retried(0.0, ValueError("x")))
    player.complete(running[1])
    running = player.take()
    assert [attempt.id for attempt in running] == crowd[2:4], "the job that failed is due after these"
    db.execute("delete from pgqueue.limits")
    assert len(player.take(3000)) == 2996, "parked jobs run even if their limit is gone"
    assert [attempt.id for attempt in player.take(after=None)] == crowd[:1], (
        "this job was running when the others were parked"
    )


def test_a_key_with_a_larger_share_gets_more_jobs_in_each_turn(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, per_key=True, key="b", share=3)
    for key in "abc":
        add_jobs(db, key, count=50)
    assert keys_of(db, player.take(10)) == {"a": 2, "b": 6, "c": 2}
    assert keys_of(db, player.take(5)) == {"a": 1, "b": 3, "c": 1}


def test_a_heavy_job_is_not_overtaken_by_lighter_jobs(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, queue="default", concurrency=5)
    first = add_jobs(db, weight=3) + add_jobs(db, weight=4) + add_jobs(db, weight=1)
    running = player.take(after=None)
    assert [attempt.id for attempt in running] == first[:1]
    player.complete(*running)
    assert sorted(attempt.id for attempt in player.take(after=None)) == first[1:]


def test_a_job_that_weighs_more_than_the_limit_runs_alone(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, per_key=True, concurrency=2)
    heavy, light = add_jobs(db, "k", weight=9), add_jobs(db, "k")
    running = player.take()
    assert [attempt.id for attempt in running] == heavy
    player.complete(*running)
    assert [attempt.id for attempt in player.take()] == light


def test_a_change_of_a_limits_row_changes_the_next_claims(db: Connection[Any], player: LimitedHand) -> None:
    number = add_limit(db, per_key=True, concurrency=1)
    add_jobs(db, "k", count=9)
    running = player.take()
    db.execute("update pgqueue.limits set concurrency = 4 where id = %s", [number])
    running += player.take()
    assert len(running) == 4
    db.execute("update pgqueue.limits set concurrency = 2 where id = %s", [number])
    player.complete(running.pop(), running.pop())
    assert player.take() == []
    player.complete(running.pop())
    assert len(player.take()) == 1
    db.execute("delete from pgqueue.limits")
    assert len(player.take()) == 4


def test_the_statement_claim_takes_no_job_of_a_lane_with_a_limit(
    db: Connection[Any], player: LimitedHand
) -> None:
    """A worker executes this statement for such a lane if it does not know the limit yet, or if it looks for urgent jobs while its slots are taken."""
    number = add_limit(db, queue="default", concurrency=1)
    add_jobs(db, count=3)
    assert player.claim() == []
    assert len(player.take(after=None)) == 1
    db.execute("update pgqueue.limits set queue = 'other' where id = %s", [number])
    [attempt] = player.claim(1)
    player.settle(attempt, Outcome.rate_limited(60.0))
    assert player.claim() == []


def test_a_changed_rate_applies_immediately(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, per_key=True, rate=1, period="1 day")
    add_jobs(db, "k", count=5)
    assert len(player.take()) == 1
    assert player.take() == []
    db.execute("update pgqueue.limits set rate = 2, period = '1 s', burst = 2")
    assert len(player.take()) == 2
    assert player.take() == []
    db.execute("update pgqueue.limits set rate = null, period = null, burst = null, concurrency = 9")
    assert len(player.take()) == 2


def test_lighter_jobs_no_longer_wait_for_a_heavy_job_after_it_was_deleted(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, queue="default", concurrency=10)
    add_jobs(db)
    assert len(player.take(after=None)) == 1
    [heavy] = add_jobs(db, weight=10)
    assert player.take(after=None) == []
    db.execute("delete from pgqueue.jobs where id = %s", [heavy])
    add_jobs(db, count=5)
    run(db, statements.recount_seats())
    assert len(player.take(after=None)) == 5


def test_recount_seats_finds_no_mistake_if_a_limit_is_removed_while_its_job_runs(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, per_key=True, concurrency=1)
    add_jobs(db, "k")
    [attempt] = player.take()
    db.execute("delete from pgqueue.limits")
    player.complete(attempt)
    assert run(db, statements.recount_seats()) == []
    assert db.execute("select * from pgqueue.seats").fetchall() == []


def test_a_rate_of_more_than_one_job_per_microsecond_is_refused(db: Connection[Any]) -> None:
    with pytest.raises(CheckViolation):
        add_limit(db, queue="default", rate=5_000_000, period="1 s")


def test_a_rescue_gives_back_the_seats_of_a_dead_worker(db: Connection[Any], player: LimitedHand) -> None:
    add_limit(db, per_key=True, concurrency=2)
    add_jobs(db, "k", count=3)
    other = LimitedHand(db, ["t"])
    assert len(other.take()) == 2
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [other.id])
    assert player.take() == []
    assert len(run(db, statements.rescue(3, 100))) == 2
    assert db.execute(SEATS).fetchall() == []
    assert len(player.take()) == 2


def test_a_wrong_number_of_taken_seats_is_corrected(db: Connection[Any], player: LimitedHand) -> None:
    number = add_limit(db, per_key=True, concurrency=2)
    add_jobs(db, "k", count=3)
    player.take(1)
    assert run(db, statements.recount_seats()) == []
    db.execute("update pgqueue.seats set taken = 2")
    assert [(m.limit_id, m.key, m.counted, m.correct) for m in run(db, statements.recount_seats())] == [
        (number, "k", 2, 1)
    ]
    assert len(player.take()) == 1


def test_no_job_is_claimed_from_a_paused_queue_or_by_a_worker_without_a_lease(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_jobs(db, "k")
    db.execute(
        "insert into pgqueue.queues (name, paused) values ('default', true) on conflict (name) do update set paused = true"
    )
    assert player.take() == []
    db.execute("update pgqueue.queues set paused = false")
    db.execute("update pgqueue.workers set expires_at = now()")
    assert player.take() == []


def test_a_handler_that_hangs_at_its_commit_does_not_lock_the_seats(
    db: Connection[Any], player: LimitedHand, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="t")
    def t() -> None: ...

    add_limit(db, queue="default", concurrency=2)
    add_jobs(db, "k", count=3)
    [attempt] = player.take(1)
    stopped, go_on = threading.Event(), threading.Event()
    commit = Connection.commit

    def slow(connection: Connection[Any]) -> None:
        stopped.set()
        go_on.wait(20)
        commit(connection)

    def handle() -> None:
        with AttemptLease(attempt, app).transaction(None, None) as connection:
            connection.execute("select 1")
            monkeypatch.setattr(Connection, "commit", slow)

    with ThreadPoolExecutor(1) as pool:
        handler = pool.submit(handle)
        try:
            assert stopped.wait(20)
            db.execute("set lock_timeout = '2s'")
            assert len(player.take()) == 2
        finally:
            go_on.set()
        handler.result(20)
    assert attempt.own_commit is OwnCommit.CONFIRMED
