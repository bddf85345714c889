"""Operators' actions race with claims, settles, rescues, and with each other. An action never waits for a job that another transaction holds."""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import Who
from pgqueue.errors import InvalidOptionError
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import look
from tests.races.two_connections import Players, claim, does, enqueue, expire, register, settle

ANN = Who("ann", "web")
DEAD = Outcome.dead("permanent_error", ValueError("boom"))


def act(name: Any, *ids: int, **options: Any) -> Any:
    return does(statements.act(name, ids, ANN, **options))


def said(answer: Any) -> list[str]:
    return [one.result for one in answer]


def claimed(players: Players) -> tuple[int, int, int]:
    worker, job = register(players.db), enqueue(players.db)
    [row] = run(players.db, claim(worker))
    return worker, job, row[1]


def dead_job(players: Players) -> int:
    worker, job, lease = claimed(players)
    run(players.db, settle(worker, job, lease, DEAD))
    return job


@pytest.mark.parametrize("name", ["cancel", "delete", "run_now", "edit"])
def test_an_action_leaves_a_job_that_is_being_claimed(players: Players, name: str) -> None:
    worker, job = register(players.db), enqueue(players.db)
    changes = {"priority": 1} if name == "edit" else None
    found, answer, waited = players.race(does(claim(worker)), act(name, job, changes=changes))
    assert (len(found), said(answer), waited) == (1, ["locked"], False)
    assert look(players.db, job) == "running"


@pytest.mark.parametrize(
    ("name", "after"), [("cancel", "cancelled"), ("run_now", "running"), ("edit", "running")]
)
def test_a_claim_passes_over_a_job_that_an_action_changes(players: Players, name: str, after: str) -> None:
    worker, job = register(players.db), enqueue(players.db)
    changes = {"priority": 0} if name == "edit" else None
    answer, found, waited = players.race(act(name, job, changes=changes), does(claim(worker)))
    assert (said(answer)[0] in ("cancelled", "due", "edited"), found, waited) == (True, [], False)
    run(players.db, claim(worker))
    assert look(players.db, job) == after


def test_a_cancel_leaves_a_job_that_is_being_settled(players: Players) -> None:
    worker, job, lease = claimed(players)
    _, answer, waited = players.race(does(settle(worker, job, lease, COMPLETED)), act("cancel", job))
    assert (said(answer), waited) == (["locked"], False)
    assert look(players.db, job) == "completed"


def test_a_settle_waits_for_a_cancel_of_its_job_and_then_completes_the_job(players: Players) -> None:
    worker, job, lease = claimed(players)
    answer, settled, waited = players.race(act("cancel", job), does(settle(worker, job, lease, COMPLETED)))
    assert (said(answer), bool(settled), waited) == (["requested"], True, True)
    assert look(players.db, job) == "completed"


@pytest.mark.parametrize("name", ["delete", "edit", "run_now"])
def test_a_settle_does_not_wait_for_an_action_that_refuses_running_jobs(players: Players, name: str) -> None:
    worker, job, lease = claimed(players)
    changes = {"priority": 1} if name == "edit" else None
    answer, settled, waited = players.race(
        act(name, job, changes=changes), does(settle(worker, job, lease, COMPLETED))
    )
    assert (said(answer), bool(settled), waited) == (["running"], True, False)


def test_a_rescue_leaves_a_job_that_is_being_cancelled_and_the_next_one_cancels_it(players: Players) -> None:
    worker, job, _ = claimed(players)
    expire(players.db, worker)
    answer, rescued, _ = players.race(act("cancel", job), does(statements.rescue(3, 100)))
    assert (said(answer), rescued) == (["requested"], [])
    run(players.db, statements.rescue(3, 100))
    assert look(players.db, job) == "cancelled"


def test_a_cancel_leaves_a_job_that_is_being_rescued(players: Players) -> None:
    worker, job, _ = claimed(players)
    expire(players.db, worker)
    _, answer, waited = players.race(does(statements.rescue(3, 100)), act("cancel", job))
    assert (said(answer), waited) == (["locked"], False)
    assert look(players.db, job) == "retrying"


def test_two_retries_of_one_job_revive_it_once(players: Players) -> None:
    job = dead_job(players)
    first, second, waited = players.race(act("retry", job), act("retry", job))
    assert (said(first), said(second), waited) == (["revived"], ["locked"], False)
    assert look(players.db, job) == "pending"


def test_retries_take_unique_keys_in_the_same_order_so_they_do_not_block_each_other_for_ever(
    players: Players,
) -> None:
    dead: list[int] = []
    for key in ("b", "a", "b", "a"):
        worker, job = register(players.db), enqueue(players.db, unique_key=key)
        [row] = run(players.db, claim(worker))
        run(players.db, settle(worker, job, row[1], DEAD))
        dead.append(job)
    first, second, _ = players.race(act("retry", *dead[:2]), act("retry", *dead[2:]))
    assert (said(first), said(second)) == (["revived"] * 2, ["unique_key"] * 2)


def test_an_undo_leaves_a_job_that_is_being_claimed(players: Players) -> None:
    worker, job = register(players.db), dead_job(players)
    [done] = run(players.db, statements.act("retry", [job], ANN))
    assert done.audit_id is not None
    _, answer, waited = players.race(does(claim(worker)), does(statements.undo(done.audit_id, ANN)))
    assert (said(answer), waited) == (["locked"], False)
    assert look(players.db, job) == "running"


def test_a_claim_passes_over_a_job_whose_retry_is_being_undone(players: Players) -> None:
    worker, job = register(players.db), dead_job(players)
    [done] = run(players.db, statements.act("retry", [job], ANN))
    assert done.audit_id is not None
    answer, found, waited = players.race(does(statements.undo(done.audit_id, ANN)), does(claim(worker)))
    assert (said(answer), found, waited) == (["undone"], [], False)
    assert look(players.db, job) == "dead"


def test_two_undos_of_one_action_undo_it_once(players: Players) -> None:
    job = enqueue(players.db)
    [done] = run(players.db, statements.act("cancel", [job], ANN))
    assert done.audit_id is not None
    undo = does(statements.undo(done.audit_id, ANN))

    def second_undo(connection: Any) -> Any:
        with pytest.raises(InvalidOptionError, match="was undone already"):
            undo(connection)

    first, _, waited = players.race(undo, second_undo)
    assert (said(first), waited) == (["undone"], True)
    assert look(players.db, job) == "pending"
