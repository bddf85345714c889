"""Which workers are woken, and how seldom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.worker.claiming.pace import AFTER_WAKE_UP
from tests.waiting import wait_until

Connect = Callable[..., "Connection[object]"]


def heard(listening: Connection[object]) -> list[str]:
    return [notify.payload for notify in listening.notifies(timeout=0.2)]


@pytest.fixture
def listening(connect: Connect) -> Connection[object]:
    connection = connect()
    connection.execute("listen pgqueue")
    return connection


def rest(db: Connection[object]) -> None:
    """Waits until the last wake-up of the default queue no longer spares others."""
    wait_until(
        lambda: (
            db.execute(
                "select pg_sequence_last_value(('pgqueue.awake_' || (hashtext('default') & 63))::regclass)"
                " < date_part('epoch', clock_timestamp()) * 1000 - 5"
            ).fetchone()
            == (True,)
        )
    )


def test_a_wake_up_spares_those_that_follow_at_once(
    db: Connection[object], listening: Connection[object]
) -> None:
    db.execute("do $$ begin for n in 1..5 loop perform pgqueue.wake('default'); commit; end loop; end $$")
    first = heard(listening)
    assert first[0] == "default"
    assert len(first) < 5
    rest(db)
    run(db, statements.wake(["default"]))
    assert heard(listening) == ["default"]


def test_others_are_spared_for_less_than_the_time_after_which_a_woken_worker_looks_again(
    db: Connection[object],
) -> None:
    clock = "select date_part('epoch', clock_timestamp()) * 1000"
    flag = "select pg_sequence_last_value(('pgqueue.awake_' || (hashtext('default') & 63))::regclass)"
    [(before,)] = db.execute(clock).fetchall()
    run(db, statements.wake(["default"]))
    [(until,)], [(after,)] = db.execute(flag).fetchall(), db.execute(clock).fetchall()
    assert before + 1 < until <= after + AFTER_WAKE_UP * 1000


def test_a_long_transaction_that_enqueues_all_the_time_spares_others_nothing(
    db: Connection[object], connect: Connect, listening: Connection[object]
) -> None:
    long = connect()
    with long.transaction():
        run(long, statements.wake(["default"]))
        rest(db)
        run(long, statements.wake(["default"]))
        run(db, statements.wake(["default"]))
        assert heard(listening) == ["default"]
    assert heard(listening) == ["default"]


def test_a_rolled_back_transaction_may_wake_again(
    db: Connection[object], listening: Connection[object]
) -> None:
    with db.transaction(force_rollback=True):
        run(db, statements.wake(["default"]))
    rest(db)
    run(db, statements.wake(["default"]))
    assert heard(listening) == ["default"]


def test_nobody_is_woken_for_a_busy_queue_until_its_worker_takes_that_back(
    db: Connection[object], listening: Connection[object]
) -> None:
    until = run(db, statements.mark_busy(["default"], 60))
    run(db, statements.wake(["default"]))
    assert heard(listening) == []
    later = run(db, statements.mark_busy(["default"], 60))
    assert later > until
    assert run(db, statements.mark_busy(["default"], 0, until)) == 0, "what another worker said later stays"
    run(db, statements.wake(["default"]))
    assert heard(listening) == []
    assert run(db, statements.mark_busy(["default"], 0, later)) > 0
    run(db, statements.wake(["default"]))
    assert heard(listening) == ["default"]


def test_a_queue_that_nobody_knows_yet_is_announced_all_the_same(
    db: Connection[object], listening: Connection[object]
) -> None:
    run(db, statements.wake(["newcomer"]))
    assert heard(listening) == ["newcomer"]


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
def test_names_and_patterns(db: Connection[object], queue: str, queues: list[str], served: bool) -> None:
    row = db.execute("select pgqueue.is_served(%s, %s::text[])", [queue, queues]).fetchone()
    assert row == (served,)


def test_patterns_find_the_queues_that_hold_jobs(db: Connection[object]) -> None:
    for queue in ("shop.eu", "shop.us", "shopXeu", "mail"):
        db.execute("insert into pgqueue.jobs (task, queue) values ('a', %s)", [queue])
    assert sorted(run(db, statements.match_queues(["shop.*"]))) == ["shop.eu", "shop.us"]
    assert sorted(run(db, statements.match_queues(["*.eu", "m*"]))) == ["mail", "shop.eu"]


def test_whoever_still_writes_jobs_is_known_until_the_end(db: Connection[object], connect: Connect) -> None:
    assert run(db, statements.list_open_writers()) == []
    writer = connect()
    with writer.transaction():
        writer.execute("insert into pgqueue.jobs (task) values ('a')")
        (began,) = writer.execute("select date_part('epoch', now())").fetchone() or (None,)
        [(_, since, now)] = run(db, statements.list_open_writers())
        assert since == began < now
    assert run(db, statements.list_open_writers()) == []
