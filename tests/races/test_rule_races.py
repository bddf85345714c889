"""Races of enqueues with a key, and races in which the job with the key has expired.

A rule is a set of options that say what happens to a duplicate: see RULES. The holder of a key is the job that has it.
"""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import row
from tests.races.two_connections import (
    TASK,
    Players,
    claim,
    does,
    enqueue,
    enqueues,
    register,
    running_holder,
    settle,
)

# ------------------------------------------------------------------ replace, raise, throttle, debounce

RULES: dict[str, dict[str, Any]] = {
    "replace": {"unique_key": "k", "on_conflict": "replace"},
    "raise": {"unique_key": "k", "on_conflict": "raise"},
    "throttle": {"unique_key": "k", "throttle": 3600},
    "debounce": {"unique_key": "k", "debounce": 3600},
    "unique": {"unique": ["n"], "unique_for": 3600},
}

# The value of ``conflict`` that an enqueue returns for a duplicate under each rule.
CONFLICTS = {
    "replace": "unique_key",
    "raise": "duplicate",
    "throttle": "throttle",
    "debounce": "debounce",
    "unique": "unique_key",
}


def args_of(players: Players, job_id: int) -> Any:
    return row(players.db, job_id, "args")[0]


def count(players: Players, table: str = "jobs") -> int:
    found = players.db.execute(f"select count(*) from pgqueue.{table}".encode()).fetchone()
    assert found
    return found[0]


@pytest.mark.parametrize("rule", RULES)
def test_the_second_of_two_enqueues_under_the_same_rule_waits_and_stores_no_job(
    players: Players, rule: str
) -> None:
    first, second, waited = players.race(
        enqueues(RULES[rule], args={"n": 1, "by": "one"}), enqueues(RULES[rule], args={"n": 1, "by": "two"})
    )
    assert waited
    [(job_id, created, _)] = first
    assert created
    assert second == [(job_id, False, CONFLICTS[rule])]
    assert count(players) == 1
    assert args_of(players, job_id)["by"] == ("two" if rule in ("replace", "debounce") else "one")


@pytest.mark.parametrize("rule", RULES)
def test_an_enqueue_under_a_rule_stores_its_job_if_the_enqueue_for_which_it_waits_is_rolled_back(
    players: Players, rule: str
) -> None:
    with players.during(enqueues(RULES[rule]), enqueues(RULES[rule])) as later:
        assert not later.done()
        players.one.rollback()
        [(job_id, created, _)] = later.result(timeout=20)
    assert created
    assert row(players.db, job_id) == ("pending",)
    assert count(players) == 1


@pytest.mark.parametrize("rule", RULES)
def test_enqueues_with_different_keys_do_not_wait_for_each_other(players: Players, rule: str) -> None:
    other = RULES[rule] | ({} if rule == "unique" else {"unique_key": "other"})
    _, second, waited = players.race(enqueues(RULES[rule], args={"n": 1}), enqueues(other, args={"n": 2}))
    assert not waited
    assert second[0][1]


@pytest.mark.parametrize("rule", RULES)
def test_two_batches_under_a_rule_with_the_same_keys_in_opposite_order_do_not_deadlock(
    players: Players, rule: str
) -> None:
    names = [f"k{number:02}" for number in range(20)]
    jobs: list[dict[str, Any]] = [
        RULES[rule] | ({"args": {"n": name}} if rule == "unique" else {"unique_key": name}) for name in names
    ]
    first, second, waited = players.race(enqueues(*jobs), enqueues(*reversed(jobs)))
    assert waited
    assert all(created for _, created, _ in first)
    assert not any(created for _, created, _ in second)
    if rule == "raise":
        assert {found[0] for found in second} <= {found[0] for found in first}
    else:
        assert [found for found, _, _ in second] == [found for found, _, _ in reversed(first)]
    assert count(players) == len(jobs)


@pytest.mark.parametrize("rule", ["replace", "debounce"])
def test_an_enqueue_that_waits_for_a_claim_does_not_replace_the_running_job(
    players: Players, rule: str
) -> None:
    """After the claim, the job cannot be replaced. Under the rule debounce, the enqueue stores a new job instead."""
    [(job_id, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    players.db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    worker_id = register(players.db)
    claimed, [(found, created, _)], waited = players.race(
        does(claim(worker_id)), enqueues(RULES[rule], args={"n": 2})
    )
    assert len(claimed) == 1
    assert waited
    assert created == (rule == "debounce")
    assert (found == job_id) == (rule == "replace")
    assert args_of(players, job_id) == {"n": 1}
    assert row(players.db, job_id) == ("running",)


@pytest.mark.parametrize("rule", ["replace", "debounce"])
def test_a_claim_skips_a_job_that_is_being_replaced(players: Players, rule: str) -> None:
    """If the replaced job is due, the next claim finds it. A debounced job is not due yet."""
    [(job_id, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    players.db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    worker_id = register(players.db)
    second, claimed, waited = players.race(enqueues(RULES[rule], args={"n": 2}), does(claim(worker_id)))
    assert not waited
    assert second == [(job_id, False, CONFLICTS[rule])]
    assert claimed == []
    assert args_of(players, job_id) == {"n": 2}
    assert len(run(players.db, claim(worker_id))) == (rule == "replace")


@pytest.mark.parametrize("rule", ["replace", "debounce"])
@pytest.mark.parametrize(
    "outcome", [COMPLETED, Outcome.retried(0.0, ValueError("no"))], ids=lambda outcome: outcome.state
)
def test_a_settle_does_not_wait_for_an_enqueue_with_the_key_of_the_running_job(
    players: Players, rule: str, outcome: Outcome
) -> None:
    """The transaction of an enqueue can stay open for long, and a worker must not wait for it."""
    [(job_id, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    players.db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    worker_id = register(players.db)
    [(_, lease_id, *_)] = run(players.db, claim(worker_id))
    _, settled, waited = players.race(
        enqueues(RULES[rule], args={"n": 2}), does(settle(worker_id, job_id, lease_id, outcome))
    )
    assert not waited
    assert settled == [job_id]


@pytest.mark.parametrize(
    "outcome", [COMPLETED, Outcome.retried(0.0, ValueError("no"))], ids=lambda outcome: outcome.state
)
def test_an_enqueue_that_waits_for_a_settle_replaces_the_job_unless_it_is_completed(
    players: Players, outcome: Outcome
) -> None:
    worker_id, holder, lease_id = running_holder(players)
    _, [(job_id, created, _)], waited = players.race(
        does(settle(worker_id, holder, lease_id, outcome)), enqueues(RULES["replace"], args={"n": 2})
    )
    assert waited
    assert created == (outcome is COMPLETED)
    assert (job_id == holder) == (not created)
    state = "pending" if created else "retrying"
    assert row(players.db, job_id, "args, state") == ({"n": 2}, state)


@pytest.mark.parametrize("rule", ["replace", "debounce"])
def test_an_enqueue_that_waits_for_a_cancel_stores_a_new_job(players: Players, rule: str) -> None:
    [(holder, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    said, [(job_id, created, _)], waited = players.race(
        does(statements.cancel(holder)), enqueues(RULES[rule], args={"n": 2})
    )
    assert (said, waited, created) == ("cancelled", True, True)
    assert row(players.db, job_id, "args, state") == ({"n": 2}, "pending")
    assert row(players.db, holder) == ("cancelled",)


@pytest.mark.parametrize("rule", ["replace", "debounce"])
def test_a_cancel_that_waits_for_a_replacement_cancels_the_replaced_job(players: Players, rule: str) -> None:
    [(holder, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    found, said, waited = players.race(enqueues(RULES[rule], args={"n": 2}), does(statements.cancel(holder)))
    assert waited
    assert found == [(holder, False, CONFLICTS[rule])]
    assert said == "cancelled"
    assert row(players.db, holder, "args, state") == ({"n": 2}, "cancelled")


# ------------------------------------------------------------------ a holder that has expired


def expired_holder(players: Players) -> int:
    holder = enqueue(players.db, unique_key="k", expires=60)
    players.db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    return holder


BATCHES = pytest.mark.parametrize("batch", [["k"], ["a", "k", "z"]], ids=["alone", "in a batch"])


@BATCHES
def test_two_enqueues_with_the_key_of_an_expired_job_store_one_new_job(
    players: Players, batch: list[str]
) -> None:
    holder = expired_holder(players)
    act = enqueues(*({"unique_key": name} for name in batch))
    first, second, waited = players.race(act, act)
    assert waited
    assert all(created for _, created, _ in first)
    assert second == [(job_id, False, "unique_key") for job_id, _, _ in first]
    assert row(players.db, holder) == ("cancelled",)


@BATCHES
def test_an_enqueue_that_waits_for_the_end_of_an_expired_holder_stores_a_new_job(
    players: Players, batch: list[str]
) -> None:
    holder = expired_holder(players)
    ended, found, waited = players.race(
        does(statements.finish_overdue(10)), enqueues(*({"unique_key": name} for name in batch))
    )
    assert [job.id for job in ended] == [holder]
    assert waited
    assert all(created for _, created, _ in found)


def test_finish_overdue_does_not_wait_for_an_enqueue_that_ends_the_expired_holder(players: Players) -> None:
    """The enqueue has locked the holder's row, so ``finish_overdue``, which the leader runs, skips it."""
    holder = expired_holder(players)
    found, ended, waited = players.race(enqueues({"unique_key": "k"}), does(statements.finish_overdue(10)))
    assert (found[0][1], ended, waited) == (True, [], False)
    assert row(players.db, holder) == ("cancelled",)


@BATCHES
def test_an_enqueue_that_waits_for_an_edit_of_the_expiry_returns_the_edited_job(
    players: Players, batch: list[str]
) -> None:
    holder = expired_holder(players)
    said, found, waited = players.race(
        does(statements.edit(holder, {"expires": None})), enqueues(*({"unique_key": name} for name in batch))
    )
    assert (said, waited) == ("edited", True)
    assert (holder, False, "unique_key") in found
    assert row(players.db, holder) == ("pending",)


def test_an_enqueue_from_sql_finds_the_derived_key_of_an_enqueue_from_python(players: Players) -> None:
    """From Python, ``insert_unique`` stores a single job. This statement must derive the same key as the function ``pgqueue.enqueue_many``."""
    options = {"unique": ["n"], "unique_for": 3600.0}
    job_id, second, waited = players.race(
        does(statements.insert_unique(TASK, '{"n": 1}', options)), enqueues(options, args={"n": 1})
    )
    assert waited
    assert second == [(job_id, False, "unique_key")]
    again = run(players.db, statements.insert_unique(TASK, '{"n": 1}', options))
    assert again is None


# This trigger ends the holder after an enqueue has found that the key is taken, and before the enqueue reads the holder's id. A worker that
# completes the holder at this moment has the same effect. Only the first call of the trigger ends the holder.
QUICK = """
create sequence chk.quick;
create function chk.end_holder() returns trigger language plpgsql as $$
begin
    if nextval('chk.quick') = 1 then
        delete from pgqueue.jobs_live where id = {holder};
    end if;
    return null;
end $$;
create trigger chk_end_holder after insert on pgqueue.jobs_live for each statement execute function chk.end_holder()
"""


@pytest.mark.parametrize("batch", [["k"], ["a", "k", "z"]], ids=["alone", "in a batch"])
def test_an_enqueue_is_tried_again_if_the_holder_ends_before_the_enqueue_reads_its_id(
    players: Players, batch: list[str]
) -> None:
    """An enqueue of one job stores the job at the second try. A batch is tried again as a whole, in the order of its keys.

    Before a batch is tried again, its first try is rolled back, and so is the end of the holder.
    """
    holder = enqueue(players.db, unique_key="k")
    players.db.execute(QUICK.format(holder=holder).encode())
    found = enqueues(*({"unique_key": name} for name in batch))(players.db)
    ended = players.db.execute("select last_value from chk.quick").fetchone()
    assert ended
    assert ended[0] >= 2, "the enqueue was tried again"
    if len(batch) == 1:
        assert found[0][1]
        # The fixtures check at the end of each test that no job ended without a worker. The trigger ended the holder, so its events are deleted.
        players.db.execute("delete from chk.events where job_id = %s", [holder])
    else:
        assert found[1] == (holder, False, "unique_key"), (
            "the end of the holder was rolled back with the first try"
        )
        assert [created for _, created, _ in found] == [True, False, True]
    held = players.db.execute("select unique_key from pgqueue.jobs_live order by 1").fetchall()
    assert held == [(name,) for name in batch]
