"""Races of a step with a rescue, a settle, a cancel and another attempt's step, in both orders."""

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


def test_a_rescue_leaves_a_job_whose_step_is_being_stored(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    stored, rescued, _ = players.race(does(step(claim)), does(RESCUE))
    assert (len(stored.stored), rescued) == (1, [])
    assert row(players.db, claim[1]) == ("running",)


def test_a_step_during_a_rescue_stores_nothing_and_does_not_wait(players: Players) -> None:
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


def test_a_step_during_a_cancel_that_is_not_committed_is_to_be_tried_again(players: Players) -> None:
    claim = claimed(players)
    _, stored, waited = players.race(does(statements.cancel(claim[1])), does(step(claim)))
    assert (stored.locked, waited) == ({(claim[1], claim[2])}, False)
    again = run(players.db, step(claim))
    assert (len(again.stored), again.leases) == (1, {(claim[1], claim[2]): True})


@pytest.mark.parametrize("outcome", [COMPLETED, Outcome.dead("given_up", ValueError("x"))], ids=str)
def test_a_step_during_the_end_of_its_attempt_stores_nothing(players: Players, outcome: Outcome) -> None:
    claim = claimed(players)
    _, stored, waited = players.race(does(settle(*claim, outcome)), does(step(claim)))
    assert not waited
    assert stored.stored == set()


def test_of_two_steps_of_one_name_the_first_commit_wins(players: Players) -> None:
    claim = claimed(players)
    first, second, waited = players.race(does(step(claim)), does(step(claim, value="2")))
    assert waited
    assert (len(first.stored), len(second.stored), len(second.leases)) == (1, 0, 1)
    assert players.db.execute(READ).fetchall() == [("a", 1)]


def test_a_step_with_rows_that_comes_second_is_rolled_back(players: Players) -> None:
    claim = claimed(players)
    with pytest.raises(psycopg.errors.UniqueViolation):
        players.race(does(step(claim)), does(effect(claim, value="2")))
    assert players.db.execute(READ).fetchall() == [("a", 1)]


def test_a_commit_with_a_step_waits_for_a_rescue_and_is_refused(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    with pytest.raises(psycopg.Error) as raised:
        players.race(does(RESCUE), does(effect(claim)))
    assert raised.value.sqlstate == "PQ601"
    assert players.db.execute(READ).fetchall() == []


def test_a_rescue_during_an_open_step_goes_on_and_the_commit_is_refused(players: Players) -> None:
    claim = claimed(players)
    expire(players.db, claim[0])
    with pytest.raises(psycopg.Error) as raised:
        players.race(does(effect(claim)), does(RESCUE))
    assert raised.value.sqlstate == "PQ601"
    assert row(players.db, claim[1]) == ("retrying",)
