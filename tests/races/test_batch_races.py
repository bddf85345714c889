"""Races of batches: seals, adds, ends, cancels and retries, in both orders."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED
from tests import batches
from tests.batches import FOLLOW_UPS, add, counts, follow_ups, overview, violations
from tests.races.two_connections import Act, Players, claim, does, register, settle
from tests.workflows import DEAD, finish

FOLLOWING = {name: {**job, "task": "follow"} for name, job in FOLLOW_UPS.items()}


def store(players: Players, *parts: int, is_open: bool = False) -> tuple[int, int, list[tuple[int, int]]]:
    """Stores a batch with parts of these sizes, and claims its members. Returns its id, the worker's id, and (id, lease_id) of each member."""
    batch = batches.store(players.db, open=True, **FOLLOWING)
    for size in parts:
        add(players.db, batch, batches.items(size, "task"))
    if not is_open:
        batches.seal(players.db, batch)
    worker = register(players.db)
    return batch, worker, [(row[0], row[1]) for row in run(players.db, claim(worker, 100))]


def adds(batch: int, count: int = 1, member: int | None = None) -> Act:
    return lambda connection: add(connection, batch, batches.items(count, "task"), member)


def seals(batch: int) -> Act:
    return lambda connection: batches.seal(connection, batch)


def cancels(batch: int) -> Act:
    return lambda connection: batches.cancel(connection, batch)


def retries(batch: int) -> Act:
    return lambda connection: batches.retry(connection, batch)


def raised(act: Act) -> Act:
    """Returns an act that returns the SQLSTATE of its error, and ends its transaction; an empty text: there was none."""

    def tries(connection: Any) -> str | None:
        try:
            act(connection)
            connection.commit()
        except psycopg.Error as error:
            connection.rollback()
            return error.sqlstate
        return ""

    return tries


# ------------------------------------------------------------------ end against end


@pytest.mark.parametrize("parts", [(2,), (1, 1)], ids=["one part", "two parts"])
@pytest.mark.parametrize("second", [COMPLETED, DEAD], ids=["completed", "dead"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_members_that_end_at_once_the_second_one_ends_the_batch(
    players: Players, order: tuple[int, int], second: Any, parts: tuple[int, ...]
) -> None:
    batch, worker, leases = store(players, *parts)
    first, last = (leases[n] for n in order)
    _, _, waited = players.race(does(settle(worker, *first, COMPLETED)), does(settle(worker, *last, second)))
    assert waited
    ended = "on_success" if second is COMPLETED else "on_failure"
    assert follow_ups(players.db, batch) == [ended, "on_end"]
    assert violations(players.db) == {}


def test_members_of_different_parts_end_without_waiting_if_no_part_ends(players: Players) -> None:
    _, worker, leases = store(players, 2, 2)
    acts = [does(settle(worker, *leases[n], COMPLETED)) for n in (0, 2)]
    assert not players.race(*acts)[2]
    assert violations(players.db) == {}


# ------------------------------------------------------------------ seal against end


def test_a_seal_during_the_last_end_waits_and_ends_the_batch(players: Players) -> None:
    batch, worker, [lease] = store(players, 1, is_open=True)
    _, said, waited = players.race(does(settle(worker, *lease, COMPLETED)), seals(batch))
    assert (said, waited) == ("ended", True)
    assert follow_ups(players.db, batch) == ["on_success", "on_end"]
    assert violations(players.db) == {}


def test_the_last_end_during_a_seal_waits_and_ends_the_batch(players: Players) -> None:
    batch, worker, [lease] = store(players, 1, is_open=True)
    said, _, waited = players.race(seals(batch), does(settle(worker, *lease, COMPLETED)))
    assert (said, waited) == ("sealed", True)
    assert follow_ups(players.db, batch) == ["on_success", "on_end"]
    assert violations(players.db) == {}


def test_an_end_that_is_not_the_last_one_of_its_part_does_not_wait_for_a_seal(players: Players) -> None:
    batch, worker, leases = store(players, 2, is_open=True)
    assert not players.race(seals(batch), does(settle(worker, *leases[0], COMPLETED)))[2]


# ------------------------------------------------------------------ seal against add


def test_a_seal_waits_for_an_add_and_sees_its_members(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    _, said, waited = players.race(adds(batch), seals(batch))
    assert (said, waited) == ("sealed", True)
    assert counts(players.db, batch) == (1, 1, 0, 0)
    assert follow_ups(players.db, batch) == []
    assert violations(players.db) == {}


def test_an_add_waits_for_a_seal_and_is_refused(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    said, state, waited = players.race(seals(batch), raised(adds(batch)))
    assert (said, state, waited) == ("ended", "PQ440", True)
    assert counts(players.db, batch) == (0, 0, 0, 0)
    assert violations(players.db) == {}


def test_two_seals_at_once_seal_once(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    said, state, waited = players.race(seals(batch), raised(seals(batch)))
    assert (said, state, waited) == ("ended", "PQ440", True)
    assert follow_ups(players.db, batch) == ["on_success", "on_end"]


# ------------------------------------------------------------------ add against end


def test_an_add_and_an_end_do_not_wait_for_each_other(players: Players) -> None:
    batch, worker, [lease] = store(players, 1, is_open=True)
    assert not players.race(adds(batch), does(settle(worker, *lease, COMPLETED)))[2]
    assert counts(players.db, batch) == (2, 1, 1, 0)
    batches.cancel(players.db, batch)
    batch, worker, [lease] = store(players, 1, is_open=True)
    # Only the COMMIT of the add waits, for the COMMIT of the end.
    _, state, _ = players.race(does(settle(worker, *lease, COMPLETED)), raised(adds(batch)))
    assert state == ""
    assert counts(players.db, batch) == (2, 1, 1, 0)
    assert violations(players.db) == {}


def test_members_that_a_member_added_before_it_ended_keep_the_batch_open(players: Players) -> None:
    batch, worker, [lease] = store(players, 1)

    def adds_and_ends(connection: Any) -> None:
        add(connection, batch, batches.items(2, "task"), lease[0])
        run(connection, settle(worker, *lease, COMPLETED))

    players.race(adds_and_ends, lambda connection: connection.execute("select 1"))
    assert (counts(players.db, batch), follow_ups(players.db, batch)) == ((3, 2, 1, 0), [])
    assert violations(players.db) == {}


def test_an_add_of_a_member_that_is_not_committed_when_the_batch_ends_is_rolled_back(
    players: Players,
) -> None:
    """The member lost its lease, and its next attempt completed it."""
    batch, worker, [lease] = store(players, 1)
    add(players.two, batch, batches.items(1, "task"), lease[0])
    run(players.db, settle(worker, *lease, COMPLETED))
    with pytest.raises(psycopg.Error) as refused:
        players.two.commit()
    assert refused.value.sqlstate == "PQ440"
    assert counts(players.db, batch) == (1, 0, 1, 0)
    assert follow_ups(players.db, batch) == ["on_success", "on_end"]
    assert violations(players.db) == {}


def test_the_last_end_waits_for_the_commit_of_an_add_of_a_member(players: Players) -> None:
    """The deferred trigger of the add locks the batch, as at a COMMIT, and the end then sees the new member."""
    batch, worker, [lease] = store(players, 1)

    def adds_up_to_the_commit(connection: Any) -> None:
        add(connection, batch, batches.items(1, "task"), lease[0])
        connection.execute("set constraints pgqueue.nodes_part_trigger immediate")

    _, _, waited = players.race(adds_up_to_the_commit, does(settle(worker, *lease, COMPLETED)))
    assert waited
    assert (counts(players.db, batch), follow_ups(players.db, batch)) == ((2, 1, 1, 0), [])
    assert violations(players.db) == {}


# ------------------------------------------------------------------ cancel


def test_an_add_that_commits_after_a_cancel_is_rolled_back_or_cancelled(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    add(players.two, batch, batches.items(1, "task"))
    assert batches.cancel(players.db, batch) == "cancelled"
    with pytest.raises(psycopg.Error, match="was cancelled"):
        players.two.commit()
    running, _, _ = store(players, 1, is_open=True)
    add(players.two, running, batches.items(1, "task"))
    assert batches.cancel(players.db, running) == "requested"
    players.two.commit()
    finish(players.db)
    assert counts(players.db, running) == (2, 1, 0, 1)
    assert overview(players.db, running) == "stopping"
    assert violations(players.db) == {}


def test_an_add_during_a_cancel_is_rolled_back(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    said, state, waited = players.race(cancels(batch), raised(adds(batch)))
    assert (said, state, waited) == ("cancelled", "PQ440", True)
    assert counts(players.db, batch) == (0, 0, 0, 0)


def test_a_cancel_and_a_seal_at_once_leave_a_cancelled_batch(players: Players) -> None:
    batch, _, _ = store(players, is_open=True)
    assert players.race(cancels(batch), raised(seals(batch))) == ("cancelled", "PQ440", True)
    assert (overview(players.db, batch), follow_ups(players.db, batch)) == ("cancelled", [])
    assert violations(players.db) == {}


@pytest.mark.parametrize("order", ["end first", "cancel first"])
@pytest.mark.parametrize("parts", [(2,), (1, 1)], ids=["one part", "two parts"])
def test_a_cancel_and_an_end_at_once_leave_nothing_open(
    players: Players, parts: tuple[int, ...], order: str
) -> None:
    batch, worker, [lease] = store(players, 1, is_open=True)
    for size in parts:
        add(players.db, batch, batches.items(size, "later"))
    batches.seal(players.db, batch)
    acts = [does(settle(worker, *lease, COMPLETED)), cancels(batch)]
    players.race(*(acts if order == "end first" else reversed(acts)))
    finish(players.db)
    assert (overview(players.db, batch), follow_ups(players.db, batch)) == ("cancelled", [])
    assert violations(players.db) == {}


def test_a_cancel_during_the_last_end_of_a_batch_leaves_it_completed(players: Players) -> None:
    batch, worker, [lease] = store(players, 1)
    _, said, waited = players.race(does(settle(worker, *lease, COMPLETED)), cancels(batch))
    assert (said, waited) == ("ended", True)
    assert (overview(players.db, batch), follow_ups(players.db, batch)) == (
        "completed",
        ["on_success", "on_end"],
    )
    assert finish(players.db) == 0
    assert violations(players.db) == {}


# ------------------------------------------------------------------ retry


@pytest.mark.parametrize("order", ["end first", "retry first"])
@pytest.mark.parametrize("parts", [(2,), (1, 1)], ids=["one part", "two parts"])
def test_a_retry_and_the_last_end_at_once_count_both(
    players: Players, parts: tuple[int, ...], order: str
) -> None:
    batch, worker, [bad, good] = store(players, *parts)
    run(players.db, settle(worker, *bad, DEAD))
    acts = [does(settle(worker, *good, COMPLETED)), retries(batch)]
    players.race(*(acts if order == "end first" else reversed(acts)))
    assert (overview(players.db, batch), counts(players.db, batch)) == ("running", (2, 1, 1, 0))
    [again] = run(players.db, claim(worker, 1))
    run(players.db, settle(worker, again[0], again[1], COMPLETED))
    assert "on_success" in follow_ups(players.db, batch)
    assert violations(players.db) == {}
