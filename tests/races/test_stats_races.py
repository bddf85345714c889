"""Two workers add counts to the same rows of ``pgqueue.stats``, and two leaders roll the same rows up: no count is lost or counted twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.races.two_connections import Players, does
from tests.stages.test_stats import NOON, delta

DAY = 86_400.0


def total(players: Players) -> list[tuple[int, int]]:
    """Returns (seconds, sum of starts), the minutes first."""
    return players.db.execute(
        "select seconds, sum(started)::int from pgqueue.stats group by 1 order by 1"
    ).fetchall()


def test_a_write_that_meets_an_uncommitted_write_of_the_same_row_adds_nothing_and_can_be_repeated(
    players: Players,
) -> None:
    adds = does(statements.add_stats([delta(NOON, started=1)]))
    with players.during(adds, adds) as later, pytest.raises(psycopg.errors.LockNotAvailable):
        later.result(timeout=20)
    players.two.rollback()
    adds(players.two)
    players.two.commit()
    assert total(players) == [(60, 2)]


def test_many_writers_of_the_same_rows_in_any_order_wait_for_each_other_and_lose_nothing(
    players: Players, dsn: str
) -> None:
    def write(number: int) -> None:
        keys = [(queue, task) for queue in "abc" for task in "xyz"]
        with psycopg.connect(dsn, autocommit=True) as connection:
            for turn in range(20):
                items = [
                    delta(NOON, *key, started=1, waits=[1])
                    for key in keys[:: 1 if (turn + number) % 2 else -1]
                ]
                while True:
                    try:
                        run(connection, statements.add_stats(items))
                        break
                    except psycopg.errors.LockNotAvailable:  # the machine was too busy for 50 ms
                        continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert total(players) == [(60, 4 * 20 * 9)]
    assert players.db.execute("select distinct waits from pgqueue.stats").fetchall() == [([80],)]


@pytest.mark.parametrize("commits", [True, False])
def test_two_leaders_that_roll_up_at_the_same_time_count_each_minute_once(
    players: Players, commits: bool
) -> None:
    run(players.db, statements.add_stats([delta(NOON + timedelta(minutes=m), started=1) for m in range(10)]))
    rolls = does(statements.roll_up_stats(DAY, 100))
    with players.during(rolls, rolls) as later:
        assert later.result(timeout=20) == 0, "the second leader leaves out what the first has locked"
        if not commits:
            players.one.rollback()
    assert total(players) == ([(3600, 10)] if commits else [(60, 10)])


def test_a_write_to_a_minute_that_is_being_rolled_up_is_kept_and_rolled_up_later(players: Players) -> None:
    run(players.db, statements.add_stats([delta(NOON, started=1)]))
    rolls = does(statements.roll_up_stats(DAY, 100))
    adds = does(statements.add_stats([delta(NOON, started=2)]))
    with players.during(rolls, adds) as later, pytest.raises(psycopg.errors.LockNotAvailable):
        later.result(timeout=20)
    players.two.rollback()
    adds(players.two)
    players.two.commit()
    assert total(players) == [(60, 2), (3600, 1)]
    assert run(players.db, statements.roll_up_stats(DAY, 100)) == 1
    assert total(players) == [(3600, 3)]


def test_the_minutes_of_today_are_not_rolled_up(players: Players) -> None:
    run(players.db, statements.add_stats([delta(datetime.now(UTC).replace(second=0), started=1)]))
    assert run(players.db, statements.roll_up_stats(DAY, 100)) == 0
