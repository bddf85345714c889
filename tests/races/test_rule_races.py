"""Races under the rules of keys: replace, raise, throttle, debounce, and holders that expired."""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import row
from tests.races.two_connections import (
    SETUP,
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

SAID = {
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
def test_two_enqueues_under_one_rule(players: Players, rule: str) -> None:
    first, second, waited = players.race(
        enqueues(RULES[rule], args={"n": 1, "by": "one"}), enqueues(RULES[rule], args={"n": 1, "by": "two"})
    )
    assert waited
    [(job_id, created, _)] = first
    assert created
    assert second == [(job_id, False, SAID[rule])]
    assert count(players) == 1
    assert args_of(players, job_id)["by"] == ("two" if rule in ("replace", "debounce") else "one")


@pytest.mark.parametrize("rule", RULES)
def test_the_first_enqueue_under_a_rule_is_rolled_back(players: Players, rule: str) -> None:
    with players.during(enqueues(RULES[rule]), enqueues(RULES[rule])) as later:
        assert not later.done()
        players.one.rollback()
        [(job_id, created, _)] = later.result(timeout=20)
    assert created
    assert row(players.db, job_id) == ("pending",)
    assert count(players) == 1


@pytest.mark.parametrize("rule", RULES)
def test_enqueues_of_other_keys_do_not_wait(players: Players, rule: str) -> None:
    other = RULES[rule] | ({} if rule == "unique" else {"unique_key": "other"})
    _, second, waited = players.race(enqueues(RULES[rule], args={"n": 1}), enqueues(other, args={"n": 2}))
    assert not waited
    assert second[0][1]


@pytest.mark.parametrize("rule", RULES)
def test_two_batches_under_a_rule_in_opposite_order_do_not_deadlock(players: Players, rule: str) -> None:
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
def test_claim_then_replacement(players: Players, rule: str) -> None:
    """The enqueue waits for the claim and sees that it comes too late: a debounce makes the next job."""
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
def test_replacement_then_claim(players: Players, rule: str) -> None:
    """The claim passes by the job that an open transaction replaces. Once the job is due, a claim finds it with the last arguments."""
    [(job_id, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    players.db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    worker_id = register(players.db)
    second, claimed, waited = players.race(enqueues(RULES[rule], args={"n": 2}), does(claim(worker_id)))
    assert not waited
    assert second == [(job_id, False, SAID[rule])]
    assert claimed == []
    assert args_of(players, job_id) == {"n": 2}
    assert len(run(players.db, claim(worker_id))) == (rule == "replace")


@pytest.mark.parametrize("rule", ["replace", "debounce"])
@pytest.mark.parametrize(
    "outcome", [COMPLETED, Outcome.retried(0.0, ValueError("no"))], ids=lambda outcome: outcome.state
)
def test_replacement_then_settle(players: Players, rule: str, outcome: Outcome) -> None:
    """An enqueue keeps no worker from settling, however long its transaction is."""
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
def test_settle_then_replacement(players: Players, outcome: Outcome) -> None:
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
def test_cancel_then_replacement(players: Players, rule: str) -> None:
    [(holder, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    said, [(job_id, created, _)], waited = players.race(
        does(statements.cancel(holder)), enqueues(RULES[rule], args={"n": 2})
    )
    assert (said, waited, created) == ("cancelled", True, True)
    assert row(players.db, job_id, "args, state") == ({"n": 2}, "pending")
    assert row(players.db, holder) == ("cancelled",)


@pytest.mark.parametrize("rule", ["replace", "debounce"])
def test_replacement_then_cancel(players: Players, rule: str) -> None:
    [(holder, _, _)] = enqueues(RULES[rule], args={"n": 1})(players.db)
    found, said, waited = players.race(enqueues(RULES[rule], args={"n": 2}), does(statements.cancel(holder)))
    assert waited
    assert found == [(holder, False, SAID[rule])]
    assert said == "cancelled"
    assert row(players.db, holder, "args, state") == ({"n": 2}, "cancelled")


# ------------------------------------------------------------------ a holder that has expired


def expired_holder(players: Players) -> int:
    holder = enqueue(players.db, unique_key="k", expires=60)
    players.db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    return holder


BATCHES = pytest.mark.parametrize("batch", [["k"], ["a", "k", "z"]], ids=["alone", "in a batch"])


@BATCHES
def test_two_enqueues_of_the_key_of_an_expired_job(players: Players, batch: list[str]) -> None:
    holder = expired_holder(players)
    act = enqueues(*({"unique_key": name} for name in batch))
    first, second, waited = players.race(act, act)
    assert waited
    assert all(created for _, created, _ in first)
    assert second == [(job_id, False, "unique_key") for job_id, _, _ in first]
    assert row(players.db, holder) == ("cancelled",)


@BATCHES
def test_sweep_then_enqueue_of_the_key(players: Players, batch: list[str]) -> None:
    holder = expired_holder(players)
    swept, found, waited = players.race(
        does(statements.finish_overdue(10)), enqueues(*({"unique_key": name} for name in batch))
    )
    assert [job.id for job in swept] == [holder]
    assert waited
    assert all(created for _, created, _ in found)


def test_enqueue_of_the_key_then_sweep(players: Players) -> None:
    """The enqueue has locked the row: the leader does not wait."""
    holder = expired_holder(players)
    found, swept, waited = players.race(enqueues({"unique_key": "k"}), does(statements.finish_overdue(10)))
    assert (found[0][1], swept, waited) == (True, [], False)
    assert row(players.db, holder) == ("cancelled",)


@BATCHES
def test_an_edit_that_takes_the_expiry_away_then_enqueue_of_the_key(
    players: Players, batch: list[str]
) -> None:
    holder = expired_holder(players)
    said, found, waited = players.race(
        does(statements.edit(holder, {"expires": None})), enqueues(*({"unique_key": name} for name in batch))
    )
    assert (said, waited) == ("edited", True)
    assert (holder, False, "unique_key") in found
    assert row(players.db, holder) == ("pending",)


def test_python_and_sql_race_for_one_derived_key(players: Players) -> None:
    """A single enqueue of Python uses a statement of its own, which makes the same key."""
    options = {"unique": ["n"], "unique_for": 3600.0}
    job_id, second, waited = players.race(
        does(statements.insert_unique(SETUP, '{"n": 1}', options)), enqueues(options, args={"n": 1})
    )
    assert waited
    assert second == [(job_id, False, "unique_key")]
    again = run(players.db, statements.insert_unique(SETUP, '{"n": 1}', options))
    assert again is None


# Once, the holder ends after an enqueue has met its key and before the enqueue can name it, as if a worker were so quick.
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
def test_a_holder_ends_before_it_can_be_named(players: Players, batch: list[str]) -> None:
    """The enqueue tries again: a single job alone, a batch as a whole, in key order."""
    holder = enqueue(players.db, unique_key="k")
    players.db.execute(QUICK.format(holder=holder).encode())
    found = enqueues(*({"unique_key": name} for name in batch))(players.db)
    ended = players.db.execute("select last_value from chk.quick").fetchone()
    assert ended
    assert ended[0] >= 2, "there was another round"
    if len(batch) == 1:
        assert found[0][1]
        players.db.execute("delete from chk.events where job_id = %s", [holder])  # no worker ended it
    else:
        assert found[1] == (holder, False, "unique_key"), "what was undone is undone as a whole"
        assert [created for _, created, _ in found] == [True, False, True]
    held = players.db.execute("select unique_key from pgqueue.jobs_live order by 1").fetchall()
    assert held == [(name,) for name in batch]
