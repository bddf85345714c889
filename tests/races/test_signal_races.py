"""Races between a signal, a suspension, a time-out, a cancel and a rescue of the same job, in both orders.

The sender of a signal locks the job only during its COMMIT. So in most tests the first transaction of the race is the suspension, and a test
that plays the other order makes the deferred trigger run earlier: ``set constraints all immediate``.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.steps import TakeSignal
from pgqueue.model.suspension import Request
from pgqueue.sql import Statement
from tests.factories import look, reasons
from tests.races.test_lease_races import RESCUE, claimed
from tests.races.two_connections import Act, Players, claim, does, expire, register, settle

WAIT = Request("wait", "wait:go", "", 3600.0, ("go", "stop"))
SWEEP = statements.time_out_waits(10)


def suspend(lease: tuple[int, int, int]) -> Statement[Any]:
    worker_id, job_id, lease_id = lease
    return statements.suspend(worker_id, [(job_id, lease_id, Outcome.suspended((WAIT,)))])


def take(lease: tuple[int, int, int]) -> Statement[Any]:
    worker_id, job_id, lease_id = lease
    return statements.take_signals([(worker_id, job_id, lease_id, TakeSignal("wait:go", "", ("go", "stop")))])


def signal(job_id: int, name: str = "go", key: str | None = None) -> Act:
    """Sends a signal. At the end of the act, the trigger has run as in a COMMIT that has not ended yet."""

    def act(connection: Connection[Any]) -> Any:
        said = run(connection, statements.signal(job_id, name, None, key))
        connection.execute("set constraints all immediate")
        return said

    return act


def waiting(players: Players) -> int:
    """Stores a job that waits, and returns its id."""
    lease = claimed(players)
    run(players.db, suspend(lease))
    assert look(players.db, lease[1]) == "waiting"
    return lease[1]


def untaken(players: Players) -> int:
    [(count,)] = players.db.execute("select count(*) from pgqueue.signals where taken_by is null").fetchall()
    return int(count)


# ---------------------------------------------------------------- a signal and a suspension


def test_a_signal_during_a_suspension_is_not_missed(players: Players) -> None:
    lease = claimed(players)
    suspended, said, waited = players.race(does(suspend(lease)), signal(lease[1]))
    assert (suspended, said, waited) == ([lease[1]], "sent", True)
    assert look(players.db, lease[1], "state, waits_for") == ("pending", None)
    assert [reason for _, _, reason in reasons(players.db, lease[1])] == ["waiting", "signalled"]


def test_a_suspension_during_the_commit_of_a_signal_does_not_miss_it(players: Players) -> None:
    lease = claimed(players)
    said, suspended, waited = players.race(signal(lease[1]), does(suspend(lease)))
    assert (said, suspended, waited) == ("sent", [lease[1]], True)
    assert look(players.db, lease[1], "state, waits_for") == ("pending", None)
    assert [reason for _, _, reason in reasons(players.db, lease[1])] == ["signalled"]


def test_a_suspension_does_not_wait_for_the_open_transaction_of_a_sender(players: Players) -> None:
    lease = claimed(players)
    _, _, waited = players.race(does(statements.signal(lease[1], "go")), does(suspend(lease)))
    assert not waited
    assert look(players.db, lease[1]) == "pending", "the signal came with the commit"


def test_a_signal_that_a_rollback_undoes_wakes_no_job(players: Players) -> None:
    job_id = waiting(players)
    signal(job_id)(players.one)
    players.one.rollback()
    assert (look(players.db, job_id), untaken(players)) == ("waiting", 0)


def test_a_take_does_not_see_a_signal_that_is_being_committed_but_the_suspension_does(
    players: Players,
) -> None:
    lease = claimed(players)
    with players.during(signal(lease[1]), does(take(lease))) as later:
        [taken] = later.result(20)
        assert taken.what == "open", "it did not wait"
    run(players.db, suspend(lease))
    assert look(players.db, lease[1]) == "pending"


# ---------------------------------------------------------------- two signals


@pytest.mark.parametrize("names", [("go", "go"), ("go", "stop")])
def test_of_two_signals_that_come_at_once_one_wakes_the_job_and_both_are_kept(
    players: Players, names: tuple[str, str]
) -> None:
    job_id = waiting(players)
    _, _, waited = players.race(signal(job_id, names[0]), signal(job_id, names[1]))
    assert waited
    assert (look(players.db, job_id), untaken(players)) == ("pending", 2)
    assert [reason for _, _, reason in reasons(players.db, job_id)] == ["waiting", "signalled"]


def test_of_two_signals_with_the_same_key_only_one_is_stored(players: Players) -> None:
    job_id = waiting(players)
    first, second, waited = players.race(signal(job_id, key="k"), signal(job_id, key="k"))
    assert (first, second, waited, untaken(players)) == ("sent", "sent", True, 1)


def test_signals_to_two_jobs_do_not_wait_for_each_other(players: Players) -> None:
    one, two = waiting(players), waiting(players)
    assert not players.race(signal(one), signal(two))[2]
    assert (look(players.db, one), look(players.db, two)) == ("pending", "pending")


# ---------------------------------------------------------------- a signal and a time-out


def overdue(players: Players) -> int:
    """Stores a job whose wait has just timed out, and returns its id."""
    job_id = waiting(players)
    players.db.execute("select pgqueue.edit(%s, '{\"delay\": 0}')", [job_id])
    return job_id


@pytest.mark.parametrize("first", ["signal", "time-out"])
def test_of_a_signal_and_a_time_out_only_one_counts(players: Players, first: str) -> None:
    job_id = overdue(players)
    acts = [signal(job_id), does(SWEEP)]
    players.race(*(acts if first == "signal" else acts[::-1]))
    woken = [reason for before, _, reason in reasons(players.db, job_id) if before == "waiting"]
    assert [reason for reason in woken if reason != "edited"] == [
        "signalled" if first == "signal" else "timed_out"
    ]
    lease = again(players, job_id)
    [taken] = run(players.db, take(lease))
    assert '"signal"' in taken.found[0].value, "the signal was there before the attempt looked"
    assert '"timed_out"' not in taken.found[0].value
    assert run(players.db, take(lease)) == [taken]


def test_a_signal_that_comes_after_the_time_out_was_stored_is_not_taken(players: Players) -> None:
    job_id = overdue(players)
    run(players.db, SWEEP)
    lease = again(players, job_id)
    with players.during(does(take(lease)), signal(job_id)):
        pass
    [taken] = run(players.db, take(lease))
    assert '"timed_out"' in taken.found[0].value
    assert untaken(players) == 1


def again(players: Players, job_id: int) -> tuple[int, int, int]:
    """Claims a job that goes on, and returns its lease."""
    worker_id = register(players.db)
    [found] = [one for one in run(players.db, claim(worker_id, 10)) if one[0] == job_id]
    return worker_id, job_id, found[1]


def test_the_leader_skips_a_job_to_which_a_signal_is_being_delivered(players: Players) -> None:
    job_id = overdue(players)
    _, woken, waited = players.race(signal(job_id), does(SWEEP))
    assert (woken, waited) == ([], False)


# ---------------------------------------------------------------- a suspension and other ends of the attempt


def test_a_cancel_during_a_suspension_ends_the_job(players: Players) -> None:
    lease = claimed(players)
    _, said, waited = players.race(does(suspend(lease)), does(statements.cancel(lease[1])))
    assert (said, waited, look(players.db, lease[1])) == ("cancelled", True, "cancelled")


def test_a_suspension_during_a_cancel_ends_the_job(players: Players) -> None:
    lease = claimed(players)
    said, suspended, waited = players.race(does(statements.cancel(lease[1])), does(suspend(lease)))
    assert (said, suspended, waited) == ("requested", [lease[1]], True)
    assert look(players.db, lease[1]) == "cancelled"


def test_a_rescue_skips_a_job_that_is_being_suspended(players: Players) -> None:
    lease = claimed(players)
    expire(players.db, lease[0])
    _, rescued, waited = players.race(does(suspend(lease)), does(RESCUE))
    assert (rescued, waited, look(players.db, lease[1])) == ([], False, "waiting")


def test_a_suspension_that_waits_for_a_rescue_changes_nothing(players: Players) -> None:
    lease = claimed(players)
    expire(players.db, lease[0])
    _, suspended, waited = players.race(does(RESCUE), does(suspend(lease)))
    assert (suspended, waited, look(players.db, lease[1])) == ([], True, "retrying")
    assert players.db.execute("select count(*) from pgqueue.checkpoints").fetchone() == (0,)


@pytest.mark.parametrize("order", ["suspend first", "settle first"])
def test_an_attempt_ends_only_once(players: Players, order: str) -> None:
    """The answer to a settle was lost, and the outcome is sent again while the first statement is still under way."""
    lease = claimed(players)
    acts = [does(suspend(lease)), does(settle(*lease, COMPLETED))]
    first, second, _ = players.race(*(acts if order == "suspend first" else acts[::-1]))
    assert (first, second) == ([lease[1]], [])
    assert look(players.db, lease[1]) == ("waiting" if order == "suspend first" else "completed")


@pytest.mark.parametrize("first", ["cancel", "signal"])
def test_a_cancel_and_a_signal_at_once_end_the_job_once(players: Players, first: str) -> None:
    job_id = waiting(players)
    acts = [does(statements.cancel(job_id)), signal(job_id)]
    answers = players.race(*(acts if first == "cancel" else acts[::-1]))[:2]
    assert set(answers) == {"cancelled", "sent"}
    assert look(players.db, job_id) == "cancelled"


@pytest.mark.parametrize("first", ["edit", "time-out"])
def test_an_edit_of_the_time_out_and_the_time_out_do_not_lose_each_other(
    players: Players, first: str
) -> None:
    job_id = overdue(players)
    edit = does(statements.edit(job_id, {"delay": 3600.0}))
    players.race(*([edit, does(SWEEP)] if first == "edit" else [does(SWEEP), edit]))
    state, later = look(players.db, job_id, "state, run_at > now() + interval '50 min'")
    assert (state, later) == ("waiting" if first == "edit" else "pending", True)


@pytest.mark.parametrize(
    ("act", "answer", "state"),
    [("cancel(%s)", "cancelled", "cancelled"), ("signal(%s, 'go')", "sent", "pending")],
)
def test_a_call_that_looks_for_a_dead_job_while_it_is_revived_finds_it_unfinished(
    players: Players, act: str, answer: str, state: str
) -> None:
    """The call has not found the job among the unfinished ones, and waits with its second look until the revive has committed."""
    worker_id, job_id, lease_id = claimed(players)
    run(players.db, settle(worker_id, job_id, lease_id, Outcome.dead("given_up", ValueError("no"))))

    def revives(connection: Connection[Any]) -> None:
        connection.execute("lock table pgqueue.jobs_dead in access exclusive mode")
        assert run(connection, statements.revive(job_id)) == "revived"

    def calls(connection: Connection[Any]) -> Any:
        return connection.execute(f"select pgqueue.{act}".encode(), [job_id]).fetchone()

    _, said, waited = players.race(revives, calls)
    assert waited
    assert said == (answer,)
    assert look(players.db, job_id) == state
