"""Batches in transactions whose snapshot is older than other transactions' jobs: the leader ends what they cannot end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection, IsolationLevel

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED
from tests.batches import (
    FOLLOW_UPS,
    add,
    cancel,
    counts,
    follow_ups,
    overview,
    run_all,
    seal,
    store,
    store_row,
)
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish

pytestmark = pytest.mark.usefixtures("consistent_batches")
Opens = Callable[[], Connection[Any]]


@pytest.fixture(
    params=[IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE], ids=lambda level: level.name
)
def look(request: pytest.FixtureRequest, connect: Callable[..., Connection[Any]]) -> Opens:
    """Returns a function that opens a transaction of this isolation level, which sees only what is committed by now."""

    def opened() -> Connection[Any]:
        connection = connect(autocommit=False)
        connection.isolation_level = request.param
        connection.execute("select count(*) from pgqueue.nodes")
        return connection

    return opened


@pytest.mark.parametrize("seen", [0, 1])
def test_a_seal_does_not_end_a_batch_whose_members_its_snapshot_cannot_see(
    db: Connection[Any], hand: Hand, look: Opens, seen: int
) -> None:
    batch = store(db, seen, open=True, **FOLLOW_UPS)
    run_all(hand)
    old = look()
    add(db, batch, 1)
    assert seal(old, batch) == "sealed"
    old.commit()
    finish(db)
    assert (overview(db, batch), follow_ups(db, batch)) == ("running", [])
    assert run_all(hand) == ["on_success", "on_end"]
    finish(db)
    assert counts(db, batch) == (1 + seen, 0, 1 + seen, 0)


def test_a_seal_ends_a_batch_at_the_next_look_of_the_leader_if_unseen_members_have_ended(
    db: Connection[Any], hand: Hand, look: Opens
) -> None:
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    old = look()
    add(db, batch, 1)
    run_all(hand, DEAD)
    assert seal(old, batch) == "sealed"
    old.commit()
    finish(db)
    assert run_all(hand) == ["on_failure", "on_end"]
    assert (overview(db, batch), counts(db, batch)) == ("failed", (1, 0, 0, 1))


def test_an_empty_batch_ends_at_the_next_look_of_the_leader(
    db: Connection[Any], hand: Hand, look: Opens
) -> None:
    old = look()
    batch, created, ids = store_row(old, {"name": "b", **FOLLOW_UPS})
    old.commit()
    assert (created, ids, overview(db, batch)) == (True, [], "running")
    finish(db)
    assert run_all(hand) == ["on_success", "on_end"]
    assert (overview(db, batch), counts(db, batch)) == ("completed", (0, 0, 0, 0))


def test_the_end_of_a_member_does_not_end_its_batch_if_the_snapshot_cannot_see_what_the_member_added(
    db: Connection[Any], hand: Hand, look: Opens
) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    [attempt] = hand.claim(1)
    old = look()
    add(db, batch, 1, attempt.id)
    run(old, statements.settle(hand.id, [(attempt.id, attempt.lease_id, COMPLETED)]))
    old.commit()
    finish(db)
    assert (overview(db, batch), follow_ups(db, batch)) == ("running", [])
    assert run_all(hand) == ["on_success", "on_end"]


def test_a_cancel_ends_also_the_members_that_its_snapshot_cannot_see(
    db: Connection[Any], look: Opens
) -> None:
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    old = look()
    add(db, batch, 2)
    assert cancel(old, batch) == "requested"
    old.commit()
    finish(db)
    assert (overview(db, batch), counts(db, batch)) == ("cancelled", (2, 0, 0, 2))
    assert follow_ups(db, batch) == []
    assert finish(db) == 0


@pytest.mark.parametrize("changed", ["select pgqueue.seal_batch(%s)", "select pgqueue.cancel_workflow(%s)"])
def test_an_add_whose_snapshot_cannot_see_that_the_batch_is_closed_is_a_serialization_failure(
    db: Connection[Any], hand: Hand, look: Opens, changed: str
) -> None:
    batch = store(db, 1, open=True)
    old = look()
    db.execute(changed.encode(), [batch])
    run_all(hand)
    with pytest.raises(psycopg.errors.SerializationFailure), old:
        add(old, batch, 1)
    assert counts(db, batch)[0] == 1
