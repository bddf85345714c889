"""Tests of the statements that store, read, forget and purge the checkpoints of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.maintenance.leftovers import JOBS_AT_ONCE
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.steps import Checkpoint, is_first
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt
from tests.factories import add_jobs, row
from tests.worker_by_hand import Hand

READ = "select job_id, name, key, kind, fingerprint, value from pgqueue.checkpoints order by 1, 2, 3"


def step(name: str = "pay", value: object = 1, key: str = "", fingerprint: int | None = 7) -> Checkpoint:
    return Checkpoint("step", name, key, fingerprint, json.dumps(value))


def items(hand: Hand, attempt: Attempt, *made: Checkpoint) -> list[tuple[int, int, int, Checkpoint]]:
    return [(hand.id, attempt.id, attempt.lease_id, one) for one in made]


def store(hand: Hand, attempt: Attempt, *made: Checkpoint) -> list[str]:
    """Stores checkpoints of one attempt as the checkpointer does: a single one by the cheaper statement, if that can. Returns one word for
    each checkpoint:

    - stored: it is new,
    - there: a checkpoint of this step was stored before,
    - locked: another transaction has locked the job,
    - lost: the attempt no longer has the lease.
    """
    if len(made) == 1 and run(hand.db, alone(hand, attempt, made[0])):
        return ["stored"]
    lease = (attempt.id, attempt.lease_id)
    found = run(hand.db, statements.store_checkpoints(items(hand, attempt, *made)))
    if lease in found.locked:
        return ["locked"] * len(made)
    if lease not in found.leases:
        return ["lost"] * len(made)
    return ["stored" if (lease, *one.step_id) in found.stored else "there" for one in made]


def alone(hand: Hand, attempt: Attempt, made: Checkpoint) -> Statement[bool]:
    return statements.store_checkpoint(hand.id, attempt.id, attempt.lease_id, made)


def again(db: Connection[Any], hand: Hand, attempt: Attempt) -> Attempt:
    """Lets an attempt fail, and claims its job again."""
    assert hand.settle(attempt, Outcome.retried(0.0, ValueError("x")))
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp() - interval '1 s'")
    [claimed] = [claimed for claimed in hand.claim() if claimed.id == attempt.id]
    return claimed


@pytest.mark.parametrize("together", [True, False])
def test_checkpoints_come_back_as_they_were_stored(db: Connection[Any], hand: Hand, together: bool) -> None:
    [job_id] = add_jobs(db)
    [attempt] = hand.claim()
    made = [step("a", None), step("b", {"n": [1, None]}, "7", -(2**63)), step("c", "x", fingerprint=None)]
    for part in [made] if together else [[one] for one in made]:
        assert store(hand, attempt, *part) == ["stored"] * len(part)
    found = run(db, statements.load_checkpoints([job_id, job_id + 1]))
    assert [one._replace(lease_id=0, at=None) for one in found[job_id]] == made
    assert {one.lease_id for one in found[job_id]} == {attempt.lease_id}
    assert found[job_id + 1] == []


def test_only_few_and_small_checkpoints_are_read_ahead(
    db: Connection[Any], hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.database.statements.steps.LARGEST_AHEAD", 200)
    ids = add_jobs(db, count=4)
    plain, large, packed, none = attempts = hand.claim()
    store(hand, plain, step("a", 1), step("b", "x"))
    store(hand, large, step("a", 1), step("b", "".join(map(str, range(150)))))
    store(hand, packed, step("a", "x" * 5_000))
    found = run(db, statements.load_ahead([*reversed(ids)]))
    assert {job_id: [one.value for one in known] for job_id, known in found.items()} == {
        plain.id: ["1", '"x"'],
        none.id: [],
    }
    assert found[plain.id] == run(db, statements.load_checkpoints([plain.id]))[plain.id]
    monkeypatch.setattr("pgqueue.database.statements.steps.MOST_AHEAD", 1)
    assert run(db, statements.load_ahead([a.id for a in attempts])).keys() == {plain.id}
    assert run(db, statements.load_ahead([plain.id])) == {}, "its checkpoints are perhaps not complete"


def test_a_later_attempt_does_not_replace_a_stored_step(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    assert store(hand, attempt, step("a", 1), step("b", 1)) == ["stored", "stored"]
    later = again(db, hand, attempt)
    assert store(hand, later, step("a", 2), step("c", 2)) == ["there", "stored"]
    assert store(hand, later, step("b", 2)) == ["there"]
    assert [(name, value) for _, name, _, _, _, value in db.execute(READ)] == [("a", 1), ("b", 1), ("c", 2)]


@pytest.mark.parametrize(
    "whose", ["a former lease", "another worker", "a finished job", "a job that is gone"]
)
def test_an_attempt_without_the_lease_stores_no_checkpoint(
    db: Connection[Any], hand: Hand, whose: str
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    late = hand
    match whose:
        case "a former lease":
            again(db, hand, attempt)
        case "another worker":
            late = Hand(db, ["t"])
        case "a finished job":
            hand.settle(attempt, COMPLETED)
        case _:
            db.execute("delete from pgqueue.jobs_live")
    assert store(late, attempt, step()) == ["lost"]
    assert db.execute(READ).fetchall() == []


def test_store_checkpoints_returns_which_jobs_were_asked_to_stop(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db, count=2)
    one, two = sorted(hand.claim(), key=lambda attempt: attempt.id)
    run(db, statements.cancel(two.id))
    assert not run(db, alone(hand, two, step()))
    found = run(db, statements.store_checkpoints([*items(hand, one, step()), *items(hand, two, step())]))
    assert found.leases == {(one.id, one.lease_id): False, (two.id, two.lease_id): True}


def test_a_locked_job_does_not_delay_the_checkpoints_of_other_jobs(
    db: Connection[Any], hand: Hand, connect: Callable[..., Connection[Any]]
) -> None:
    add_jobs(db, count=2)
    one, two = sorted(hand.claim(), key=lambda attempt: attempt.id)
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live where id = %s for update", [one.id])
    found = run(db, statements.store_checkpoints([*items(hand, one, step()), *items(hand, two, step())]))
    assert (set(found.leases), found.locked) == ({(two.id, two.lease_id)}, {(one.id, one.lease_id)})
    assert not run(db, alone(hand, one, step()))
    other.rollback()
    assert store(hand, one, step()) == ["stored"]


def test_only_the_first_lease_id_of_a_job_is_odd(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    leases = [attempt.lease_id]
    for outcome in (Outcome.released(), Outcome.snoozed(0.0), Outcome.dead("given_up", ValueError("x"))):
        assert hand.settle(attempt, outcome)
        run(db, statements.revive(attempt.id))
        db.execute("update pgqueue.jobs_live set run_at = clock_timestamp() - interval '1 s'")
        [attempt] = hand.claim()
        leases.append(attempt.lease_id)
    assert [is_first(lease) for lease in leases] == [True, False, False, False]
    assert leases == sorted(set(leases))


def test_the_next_lease_id_is_larger_even_if_the_last_lease_id_is_ahead_of_the_clock(
    db: Connection[Any], hand: Hand
) -> None:
    ahead = 2**61
    add_jobs(db)
    for lease in (ahead, ahead + 1):
        db.execute("update pgqueue.jobs_live set lease_id = %s, state = 'pending', worker_id = null", [lease])
        [attempt] = hand.claim()
        assert attempt.lease_id > lease
        assert not is_first(attempt.lease_id)


# ---------------------------------------------------------------- in a transaction of the user


def effect(hand: Hand, attempt: Attempt, name: str = "book") -> Any:
    made = Checkpoint("effect", name, "", 7, "1")
    return statements.store_effect(hand.id, attempt.id, attempt.lease_id, made)


def cursor(hand: Hand, attempt: Attempt, value: str = "1") -> Any:
    return statements.save_cursor(hand.id, attempt.id, attempt.lease_id, value)


@pytest.mark.parametrize("make", [effect, cursor])
def test_an_effect_or_a_cursor_is_not_committed_if_the_lease_was_lost_before_the_commit(
    db: Connection[Any], hand: Hand, connect: Callable[..., Connection[Any]], make: Callable[..., Any]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    user = connect(autocommit=False)
    user.execute("create table rows (n int)")
    run(user, make(hand, attempt))
    again(db, hand, attempt)
    with pytest.raises(psycopg.Error) as raised:
        user.commit()
    assert raised.value.sqlstate == "PQ601"
    assert db.execute("select to_regclass('rows')").fetchone() == (None,)
    assert db.execute(READ).fetchall() == []


@pytest.mark.parametrize("make", [effect, cursor])
def test_another_worker_cannot_commit_an_effect_or_a_cursor_with_the_same_lease_id(
    db: Connection[Any], hand: Hand, make: Callable[..., Any]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    with pytest.raises(psycopg.Error) as raised:
        run(db, make(Hand(db, ["t"]), attempt))
    assert raised.value.sqlstate == "PQ601"


def test_a_settle_and_a_cancel_do_not_wait_for_the_open_transaction_of_an_effect(
    db: Connection[Any], hand: Hand, connect: Callable[..., Connection[Any]]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    user = connect(autocommit=False)
    run(user, effect(hand, attempt))
    db.execute("set lock_timeout = '1s'")
    run(db, statements.cancel(attempt.id))
    assert hand.settle(attempt, COMPLETED)
    user.rollback()


def test_an_effect_cannot_be_stored_twice(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    run(db, effect(hand, attempt))
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(db, effect(hand, attempt))


def test_a_newer_cursor_replaces_the_cursor_of_its_job(db: Connection[Any], hand: Hand) -> None:
    [job_id] = add_jobs(db)
    [attempt] = hand.claim()
    run(db, cursor(hand, attempt, '{"page": 1}'))
    attempt = again(db, hand, attempt)
    run(db, cursor(hand, attempt, '{"page": 2}'))
    [found] = run(db, statements.load_checkpoints([job_id]))[job_id]
    assert (found.kind, found.value, found.lease_id) == ("cursor", '{"page": 2}', attempt.lease_id)


# ---------------------------------------------------------------- forgetting and purging


def test_forget_step_deletes_only_the_given_step(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    store(hand, attempt, step("a"), step("a", key="1"), step("b"))
    for name, key, known in (("a", "", True), ("a", "", False), ("a", "1", True), ("c", "", False)):
        assert db.execute("select pgqueue.forget_step(%s, %s, %s)", [attempt.id, name, key]).fetchone() == (
            known,
        )
    assert [name for _, name, *_ in db.execute(READ)] == ["b"]


def test_the_view_steps_shows_the_steps_of_a_job(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    store(hand, attempt, step("a", [1], "k"))
    found = db.execute(
        "select job_id, name, key, kind, lease_id, worker_id, value from pgqueue.steps"
    ).fetchall()
    assert found == [(attempt.id, "a", "k", "step", attempt.lease_id, hand.id, [1])]


def test_only_checkpoints_of_jobs_that_are_gone_are_purged(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db, count=4)
    attempts = sorted(hand.claim(), key=lambda attempt: attempt.id)
    for attempt in attempts:
        store(hand, attempt, step("a"), step("b"))
    hand.settle(attempts[0], COMPLETED)
    hand.settle(attempts[1], Outcome.completed(keep="none"))
    db.execute("delete from pgqueue.jobs_live where id = %s", [attempts[3].id])
    after: int | None = 0
    looks = 0
    while after is not None:
        after, looks = run(db, statements.purge_checkpoints(after, 2)), looks + 1
    assert looks == 3
    assert {job_id for job_id, *_ in db.execute(READ)} == {attempts[0].id, attempts[2].id}
    assert run(db, statements.purge_checkpoints(0, JOBS_AT_ONCE)) == attempts[2].id


@pytest.mark.parametrize(
    "values", ["kind = 'other'", "name = ''", "name = repeat('x', 256)", "key = repeat('x', 256)"]
)
def test_a_checkpoint_with_an_invalid_value_is_refused(db: Connection[Any], hand: Hand, values: str) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    store(hand, attempt, step())
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute(f"update pgqueue.checkpoints set {values}".encode())


# ---------------------------------------------------------------- what a rescue counts


@pytest.mark.parametrize(("has_step", "left"), [(True, ("retrying", 1)), (False, ("dead", 2))])
def test_a_rescued_attempt_with_a_new_checkpoint_counts_as_the_first_attempt(
    db: Connection[Any], hand: Hand, has_step: bool, left: tuple[str, int]
) -> None:
    """The job has two attempts. The worker dies during the second one."""
    [job_id] = add_jobs(db, max_attempts=2)
    [attempt] = hand.claim()
    store(hand, attempt, step("first"))
    attempt = again(db, hand, attempt)
    if has_step:
        store(hand, attempt, step("second"))
    db.execute("update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s'")
    run(db, statements.rescue(3, 10))
    assert row(db, job_id, "state, attempt") == left
