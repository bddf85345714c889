"""A weight can be as large as 10^9, so that limits can count money, tokens or bytes. No sum of weights is too large for its column."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from tests.factories import add_jobs, add_limit, enqueue
from tests.worker_by_hand import LimitedHand

LARGEST = 1_000_000_000


@pytest.fixture
def player(db: Connection[Any]) -> LimitedHand:
    return LimitedHand(db, ["t"])


def taken(db: Connection[Any]) -> list[int]:
    return [row[0] for row in db.execute("select taken from pgqueue.seats order by limit_id, key")]


def test_the_largest_weights_fill_the_largest_limit_and_are_given_back(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, queue="default", concurrency=LARGEST)
    first, second = add_jobs(db, weight=LARGEST, count=2)
    [running] = player.take(after=None)
    assert (running.id, taken(db)) == (first, [LARGEST])
    assert player.take(after=None) == []
    assert db.execute("select wanted from pgqueue.seats").fetchone() == (LARGEST,)
    assert run(db, statements.recount_seats()) == []
    player.settle(running, Outcome.released())
    assert taken(db) == [0]
    db.execute("update pgqueue.jobs_live set run_at = now()")
    assert len(player.take(after=None)) == 1
    assert second > first


def test_limits_without_seats_add_up_no_weights(db: Connection[Any], player: LimitedHand) -> None:
    """The sum of these weights would not fit into an integer."""
    add_limit(db, per_key=True, key="k", share=50)
    add_jobs(db, "k", weight=LARGEST, count=9)
    assert len(player.take()) == 9


def test_recounted_seats_of_a_limit_that_is_no_longer_by_key_have_the_largest_number(
    db: Connection[Any], player: LimitedHand
) -> None:
    number = add_limit(db, per_key=True, concurrency=LARGEST)
    for key in "abc":
        add_jobs(db, key, weight=LARGEST)
    assert len(player.take()) == 3
    db.execute("update pgqueue.limits set per_key = false")
    db.execute("insert into pgqueue.seats (limit_id, key) values (%s, '')", [number])
    run(db, statements.recount_seats())
    assert db.execute("select max(taken) from pgqueue.seats").fetchone() == (LARGEST,)


@pytest.mark.parametrize(
    ("rate", "period", "sliding"),
    [
        (1, "365 days", False),
        (1, "1 day", True),
        (LARGEST, "1 day", False),
        (LARGEST, "1 day", True),
        (1000, "1 ms", False),
    ],
)
def test_a_rate_of_any_size_lets_the_heaviest_job_start_when_nothing_else_has_started(
    db: Connection[Any], player: LimitedHand, rate: int, period: str, sliding: bool
) -> None:
    add_limit(db, queue="default", rate=rate, period=period, sliding=sliding)
    first, _ = add_jobs(db, weight=LARGEST, count=2)
    assert [attempt.id for attempt in player.take(after=None)] == [first]
    if (rate, period) != (1000, "1 ms"):
        assert player.take(after=None) == []
    db.execute("select * from pgqueue.recount_seats()")
    assert run(db, statements.list_limits()) != []


def test_a_slow_rate_and_a_heavy_job_make_the_next_job_wait_for_at_most_a_century(
    db: Connection[Any], player: LimitedHand
) -> None:
    add_limit(db, queue="default", rate=1, period="365 days")
    add_jobs(db, weight=LARGEST)
    assert len(player.take(after=None)) == 1
    assert db.execute(
        "select full_at between now() + interval '90 years' and now() + interval '101 years' from pgqueue.seats"
    ).fetchone() == (True,)


@pytest.mark.parametrize("column", ["concurrency", "rate", "burst"])
def test_a_limit_above_the_largest_number_is_refused(db: Connection[Any], column: str) -> None:
    values = {"rate": 1, "period": "365 days"} if column != "concurrency" else {}
    with pytest.raises(psycopg.errors.CheckViolation):
        add_limit(db, queue="default", **(values | {column: LARGEST + 1}))


def test_every_way_to_set_a_weight_takes_the_largest_and_refuses_more(db: Connection[Any]) -> None:
    job = enqueue(db, weight=LARGEST, concurrency_key="k", unique_key="u")
    assert enqueue(db, weight=5, unique_key="u", on_conflict="replace") == job
    assert enqueue(db, weight=LARGEST, unique_key="u", on_conflict="replace") == job
    assert db.execute("select weight from pgqueue.jobs").fetchall() == [(LARGEST,)]
    with pytest.raises(psycopg.Error):
        enqueue(db, weight=LARGEST + 1)
