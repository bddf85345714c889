"""Races between storing a step and a rescue, a settle, a cancel, a write of progress, or a second step of the same name.

A step is stored as a checkpoint. An effect is a step that also writes rows of the application: its checkpoint is stored in the transaction
that writes these rows.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.steps import Checkpoint
from pgqueue.sql import Statement
from tests.factories import row
from tests.races.test_lease_races import RESCUE, claimed
from tests.races.two_connections import Players, does, expire, settle

READ = "select name, value from pgqueue.checkpoints order by 1"


def step(claim: tuple[int, int, int], name: str = "a", value: str = "1") -> Statement[Any]:
    worker_id, job_id, lease_id = claim
    made = Checkpoint("step", name, "", 1, value)
    return statements.store_checkpoints([(worker_id, job_id, lease_id, made)])


def effect(claim: tuple[int, int, int], name: str = "a", value: str = "1") -> Statement[Any]:
    return statements.store_effect(*claim, Checkpoint("effect", name, "", 1, value))


def test_a_rescue_skips_a_job_whose_step_is_being_stored(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    stored, rescued, _ = players.race(does(step(claim)), does(RESCUE))
    assert (len(stored.stored), rescued) == (1, [])
    assert row(players.db, claim[1]) == ("running",)


def test_a_step_is_not_stored_while_its_job_is_being_rescued(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    _, stored, waited = players.race(does(RESCUE), does(step(claim)))
    assert not waited
    assert (stored.stored, stored.locked) == (set(), {(claim[1], claim[2])})
    assert players.db.execute(READ).fetchall() == []


def test_a_step_and_a_write_of_progress_do_not_wait_for_each_other(players: Players) -> None:
    claim = claimed(players)
    worker_id, job_id, lease_id = claim
    progress = does(statements.write_progress(worker_id, [(job_id, lease_id, Progress(1))]))
    stored, _, waited = players.race(does(step(claim)), progress)
    assert (len(stored.stored), waited) == (1, False)
    _, stored, waited = players.race(progress, does(step(claim, "b")))
    assert (len(stored.stored), waited) == (1, False)


def test_a_step_of_a_job_that_a_cancel_has_locked_is_stored_at_the_second_try(players: Players) -> None:
    claim = claimed(players)
    _, stored, waited = players.race(does(statements.cancel(claim[1])), does(step(claim)))
    assert (stored.locked, waited) == ({(claim[1], claim[2])}, False)
    again = run(players.db, step(claim))
    assert (len(again.stored), again.leases) == (1, {(claim[1], claim[2]): True})


@pytest.mark.parametrize("outcome", [COMPLETED, Outcome.dead("given_up", ValueError("x"))], ids=str)
def test_a_step_is_not_stored_while_its_attempt_is_being_settled(players: Players, outcome: Outcome) -> None:
    claim = claimed(players)
    _, stored, waited = players.race(does(settle(*claim, outcome)), does(step(claim)))
    assert not waited
    assert stored.stored == set()


def test_only_the_first_of_two_steps_with_the_same_name_is_stored(players: Players) -> None:
    claim = claimed(players)
    first, second, waited = players.race(does(step(claim)), does(step(claim, value="2")))
    assert waited
    assert (len(first.stored), len(second.stored), len(second.leases)) == (1, 0, 1)
    assert players.db.execute(READ).fetchall() == [("a", 1)]


def test_an_effect_is_rolled_back_if_a_step_with_the_same_name_was_stored_before(players: Players) -> None:
    claim = claimed(players)
    with pytest.raises(psycopg.errors.UniqueViolation):
        players.race(does(step(claim)), does(effect(claim, value="2")))
    assert players.db.execute(READ).fetchall() == [("a", 1)]


def test_an_effect_that_waits_for_a_rescue_of_its_job_is_not_committed(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    with pytest.raises(psycopg.Error) as raised:
        players.race(does(RESCUE), does(effect(claim)))
    assert raised.value.sqlstate == "PQ601"
    assert players.db.execute(READ).fetchall() == []


def test_an_effect_is_not_committed_if_its_job_is_rescued_before_the_commit(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    with pytest.raises(psycopg.Error) as raised:
        players.race(does(effect(claim)), does(RESCUE))
    assert raised.value.sqlstate == "PQ601"
    assert row(players.db, claim[1]) == ("retrying",)
