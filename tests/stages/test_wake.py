"""Tests of wake-ups: for which queues they are sent, and when none is sent because the last wake-up was sent just before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.claiming.wake_ups import AFTER_WAKE_UP
from tests.waiting import wait_until

Connect = Callable[..., "Connection[object]"]


def woken_queues(listening: Connection[object]) -> list[str]:
    return [notify.payload for notify in listening.notifies(timeout=0.2)]


@pytest.fixture
def listening(connect: Connect) -> Connection[object]:
    connection = connect()
    connection.execute("listen pgqueue")
    return connection


def let_the_last_wake_up_age(db: Connection[object]) -> None:
    """Waits until the last wake-up of the default queue is so old that the next wake-up is sent again."""
    wait_until(
        lambda: (
            db.execute(
                "select pg_sequence_last_value(('pgqueue.awake_' || (hashtext('default') & 63))::regclass)"
                " < date_part('epoch', clock_timestamp()) * 1000 - 5"
            ).fetchone()
            == (True,)
        )
    )


def test_a_wake_up_is_not_sent_if_the_last_wake_up_was_sent_just_before(
    db: Connection[object], listening: Connection[object]
) -> None:
    db.execute("do $$ begin for n in 1..5 loop perform pgqueue.wake('default'); commit; end loop; end $$")
    first = woken_queues(listening)
    assert first[0] == "default"
    assert len(first) < 5
    let_the_last_wake_up_age(db)
    run(db, statements.wake(["default"]))
    assert woken_queues(listening) == ["default"]


def test_a_wake_up_suppresses_later_wake_ups_only_until_the_woken_worker_claims_again(
    db: Connection[object],
) -> None:
    clock = "select date_part('epoch', clock_timestamp()) * 1000"
    flag = "select pg_sequence_last_value(('pgqueue.awake_' || (hashtext('default') & 63))::regclass)"
    [(before,)] = db.execute(clock).fetchall()
    run(db, statements.wake(["default"]))
    [(until,)], [(after,)] = db.execute(flag).fetchall(), db.execute(clock).fetchall()
    assert before + 1 < until <= after + AFTER_WAKE_UP * 1000


def test_an_open_transaction_does_not_suppress_the_wake_ups_of_other_transactions(
    db: Connection[object], connect: Connect, listening: Connection[object]
) -> None:
    long = connect()
    with long.transaction():
        run(long, statements.wake(["default"]))
        let_the_last_wake_up_age(db)
        run(long, statements.wake(["default"]))
        run(db, statements.wake(["default"]))
        assert woken_queues(listening) == ["default"]
    assert woken_queues(listening) == ["default"]


def test_a_wake_up_is_sent_after_a_transaction_with_a_wake_up_was_rolled_back(
    db: Connection[object], listening: Connection[object]
) -> None:
    with db.transaction(force_rollback=True):
        run(db, statements.wake(["default"]))
    let_the_last_wake_up_age(db)
    run(db, statements.wake(["default"]))
    assert woken_queues(listening) == ["default"]


def test_no_wake_up_is_sent_for_a_busy_queue_until_its_busy_mark_is_removed(
    db: Connection[object], listening: Connection[object]
) -> None:
    until = run(db, statements.mark_busy(["default"], 60))
    run(db, statements.wake(["default"]))
    assert woken_queues(listening) == []
    later = run(db, statements.mark_busy(["default"], 60))
    assert later > until
    assert run(db, statements.mark_busy(["default"], 0, until)) == 0, "the later mark of another worker stays"
    run(db, statements.wake(["default"]))
    assert woken_queues(listening) == []
    assert run(db, statements.mark_busy(["default"], 0, later)) > 0
    run(db, statements.wake(["default"]))
    assert woken_queues(listening) == ["default"]


def test_a_wake_up_is_sent_even_for_a_queue_that_is_not_in_the_table_of_queues(
    db: Connection[object], listening: Connection[object]
) -> None:
    run(db, statements.wake(["newcomer"]))
    assert woken_queues(listening) == ["newcomer"]


@pytest.mark.parametrize(
    ("queue", "queues", "served"),
    [
        ("mail", ["mail"], True),
        ("mail", ["email"], False),
        ("mail", ["m*"], True),
        ("mail", ["*"], True),
        ("my_mail", ["my*"], True),
        ("myXmail", ["my_mail"], False),
        ("myXmail", ["my_*"], False),
        ("shop.eu", ["mail", "shop.*"], True),
        ("mail", [], False),
    ],
)
def test_a_worker_serves_a_queue_by_its_name_or_by_a_pattern(
    db: Connection[object], queue: str, queues: list[str], served: bool
) -> None:
    row = db.execute("select pgqueue.is_served(%s, %s::text[])", [queue, queues]).fetchone()
    assert row == (served,)


def test_match_queues_returns_the_queues_with_jobs_that_fit_a_pattern(db: Connection[object]) -> None:
    for queue in ("shop.eu", "shop.us", "shopXeu", "mail"):
        db.execute("insert into pgqueue.jobs (task, queue) values ('a', %s)", [queue])
    assert sorted(run(db, statements.match_queues(["shop.*"]))) == ["shop.eu", "shop.us"]
    assert sorted(run(db, statements.match_queues(["*.eu", "m*"]))) == ["mail", "shop.eu"]


def test_a_transaction_that_wrote_jobs_is_listed_as_an_open_writer_until_it_ends(
    db: Connection[object], connect: Connect
) -> None:
    assert run(db, statements.list_open_writers()) == []
    writer = connect()
    with writer.transaction():
        writer.execute("insert into pgqueue.jobs (task) values ('a')")
        (began,) = writer.execute("select date_part('epoch', now())").fetchone() or (None,)
        [(_, since, now)] = run(db, statements.list_open_writers())
        assert since == began < now
    assert run(db, statements.list_open_writers()) == []
