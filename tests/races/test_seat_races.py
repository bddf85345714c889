"""A claim of jobs with limits races with a second such claim, with ``recount_seats``, and with a change of a limit.

``recount_seats`` corrects the numbers of taken seats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED
from pgqueue.sql import Statement
from tests.races.two_connections import TASK, Players, claim, does, enqueue, register, settle


def claim_by_turns(worker_id: int, count: int = 10) -> Statement[list[Sequence[Any]]]:
    by_turns = statements.claim_limited(worker_id, [TASK], ("default", 0), "", count)
    return Statement(
        by_turns.name, by_turns.text, by_turns.parameters, lambda rows: by_turns.decode(rows).rows
    )


def test_two_claims_of_one_key_take_no_more_jobs_than_its_limit_allows(players: Players) -> None:
    players.db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 3)")
    for _ in range(6):
        enqueue(players.db, concurrency_key="k")
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(
        does(claim_by_turns(workers[0], 2)), does(claim_by_turns(workers[1], 2))
    )
    assert waited, "the second claim waits until the first claim has committed the seats that it takes"
    assert (len(first), len(second)) == (2, 1)


def test_a_claim_stores_its_row_of_seats_again_if_recount_seats_deletes_this_row_meanwhile(
    players: Players,
) -> None:
    players.db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 2)")
    players.db.execute("insert into pgqueue.seats (limit_id, key) select id, 'k' from pgqueue.limits")
    for _ in range(6):
        enqueue(players.db, concurrency_key="k")
    worker_id = register(players.db)
    tidy = does(statements.recount_seats())
    with players.during(
        lambda one: one.execute("select from pgqueue.seats for update"), does(claim_by_turns(worker_id))
    ) as later:
        assert not later.done()
        tidy(players.one)
    assert len(later.result(timeout=20)) == 2
    assert run(players.db, statements.recount_seats()) == []


def test_ordered_jobs_never_run_at_the_same_time_even_if_the_first_is_committed_last(
    players: Players,
) -> None:
    first = enqueue(players.one, concurrency_key="k", ordering="block")
    second = enqueue(players.db, concurrency_key="k", ordering="block")
    worker_id = register(players.db)
    [claimed] = run(players.db, claim_by_turns(worker_id))
    assert claimed[0] == second
    players.one.commit()
    assert run(players.db, claim_by_turns(worker_id)) == []
    assert run(players.db, statements.why(first)).sentence.endswith(f"and job {second} is running.")
    assert run(players.db, settle(worker_id, second, claimed[1], COMPLETED)) == [second]
    [claimed] = run(players.db, claim_by_turns(worker_id))
    assert claimed[0] == first


def test_a_claim_of_jobs_without_keys_does_not_wait_for_another_claim_that_takes_seats(
    players: Players,
) -> None:
    players.db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 1)")
    enqueue(players.db, concurrency_key="k")
    enqueue(players.db)
    workers = register(players.db), register(players.db)
    first, second, waited = players.race(does(claim_by_turns(workers[0])), does(claim(workers[1])))
    assert not waited
    assert (len(first), len(second)) == (1, 1)


@pytest.mark.parametrize("committing", [False, True])
def test_a_claim_waits_for_a_change_of_its_limit_only_while_the_change_commits(
    players: Players, committing: bool
) -> None:
    players.db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 4)")
    for _ in range(6):
        enqueue(players.db, concurrency_key="k")
    worker_id = register(players.db)
    assert len(run(players.db, claim_by_turns(worker_id, 1))) == 1

    def change(one: Connection[Any]) -> None:
        one.execute("update pgqueue.limits set concurrency = 2")
        if committing:
            one.execute("set constraints all immediate")

    _, claimed, waited = players.race(change, does(claim_by_turns(worker_id)))
    assert waited is committing, "a change that commits locks the seats of the limit"
    assert len(claimed) == (1 if committing else 3)
    assert run(players.db, claim_by_turns(worker_id)) == []
