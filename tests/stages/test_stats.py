"""``pgqueue.stats``: counts are added up, rolled up and read, and counts of jobs have a bounded cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.stats import QueueDrain, StateCount
from pgqueue.model.histogram import BUCKETS, UPPER_BOUNDS
from pgqueue.schema.stats import COUNTS
from tests.factories import add_jobs, count

HOUR, DAY = 3600.0, 86_400.0
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def delta(at: datetime, queue: str = "default", task: str = "t", **fields: Any) -> dict[str, Any]:
    """Returns one item of ``add_stats``. What is not given is 0, or an empty histogram."""
    nothing = dict.fromkeys((*COUNTS, "wait_seconds", "run_seconds"), 0)
    return {
        "at": int(at.timestamp()),
        "queue": queue,
        "task": task,
        **nothing,
        "waits": [],
        "runs": [],
        **fields,
    }


def add(db: Connection[Any], *deltas: dict[str, Any]) -> None:
    run(db, statements.add_stats(deltas))


def minutes_ago(db: Connection[Any], minutes: int) -> datetime:
    [(moment,)] = db.execute(
        "select date_trunc('minute', now()) - make_interval(mins => %s)", [minutes]
    ).fetchall()
    assert isinstance(moment, datetime)
    return moment


def test_counts_of_one_minute_queue_and_task_are_added_up(db: Connection[Any]) -> None:
    add(db, delta(NOON, started=2, waits=[1, 0, 1], wait_seconds=0.5), delta(NOON, task="u", started=1))
    add(
        db,
        delta(NOON, started=1, waits=[0, 0, 0, 1], wait_seconds=0.25, dead=1),
        delta(NOON, "mail", started=9),
    )
    rows = db.execute(
        "select queue, task, seconds, started, dead, waits, wait_seconds from pgqueue.stats order by 1, 2"
    ).fetchall()
    assert rows == [
        ("default", "t", 60, 3, 1, [1, 0, 1, 1], 0.75),
        ("default", "u", 60, 1, 0, [], 0.0),
        ("mail", "t", 60, 9, 0, [], 0.0),
    ]


def test_the_answer_to_a_write_is_the_time_of_the_database(db: Connection[Any]) -> None:
    [(before,)] = db.execute("select extract(epoch from clock_timestamp())::float8").fetchall()
    assert before <= run(db, statements.add_stats([delta(NOON)])) <= before + 60


@pytest.mark.parametrize("lock", ["lock table pgqueue.stats", "update pgqueue.stats set started = 7"])
def test_a_write_gives_up_soon_and_adds_nothing_if_a_lock_is_not_free(
    db: Connection[Any], connect: Callable[..., Connection[Any]], lock: str
) -> None:
    add(db, delta(NOON, started=1))
    other = connect(autocommit=False)
    other.execute(lock.encode())
    db.execute("set lock_timeout = 0")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        add(db, delta(NOON, started=1), delta(NOON, "mail", started=1))
    other.rollback()
    assert db.execute("select sum(started) from pgqueue.stats").fetchall() == [(1,)]
    assert db.execute("show lock_timeout").fetchall() == [("0",)]


# ---------------------------------------------------------------- quantiles


@pytest.mark.parametrize("bucket", range(BUCKETS))
def test_the_sql_and_python_have_the_same_bounds_of_buckets(db: Connection[Any], bucket: int) -> None:
    histogram = [0] * bucket + [1]
    [(found,)] = db.execute("select pgqueue.quantiles(%s::int[], 0.000001, 1)", [histogram]).fetchall()
    lower, upper = found
    if bucket:
        assert lower == pytest.approx(UPPER_BOUNDS[bucket - 1], rel=1e-5)
    assert upper == (UPPER_BOUNDS[bucket] if bucket < BUCKETS - 1 else UPPER_BOUNDS[-2])


@pytest.mark.parametrize(
    ("histogram", "share", "expected"),
    [
        ([], 0.5, None),
        ([0, 0], 0.5, None),
        ([None, 4], 0.5, 2**-12.5),  # a row of sums has null where no row had so many buckets
        ([0, 2, 0, 2], 0.5, 2**-12),
        ([0, 2, 0, 2], 0.75, 2**-10.5),
        ([0, 2, 0, 2], 0.0, 2**-13),
        ([0, 2, 0, 2], 1.0, 2**-10),
    ],
)
def test_a_quantile_is_estimated_inside_its_bucket(
    db: Connection[Any], histogram: list[int | None], share: float, expected: float | None
) -> None:
    [(found,)] = db.execute("select pgqueue.quantiles(%s::int[], %s)", [histogram, share]).fetchall()
    assert found == [pytest.approx(expected)]


def test_an_estimated_quantile_is_wrong_by_a_factor_of_two_at_most(db: Connection[Any]) -> None:
    times = sorted(0.001 * 1.013**i for i in range(1000))
    histogram = [0] * BUCKETS
    for time in times:
        histogram[next(i for i, bound in enumerate(UPPER_BOUNDS) if time < bound)] += 1
    shares = [0.01, 0.5, 0.9, 0.95, 0.99, 0.999]
    [(found,)] = db.execute(
        "select pgqueue.quantiles(%s::int[], variadic %s::float8[])", [histogram, shares]
    ).fetchall()
    for share, estimate in zip(shares, found, strict=True):
        real = times[math.ceil(share * len(times)) - 1]
        assert real / 2 <= estimate <= real * 2


# ---------------------------------------------------------------- hours, and the end of them


def test_minutes_become_hours_when_they_are_older_than_the_given_age(db: Connection[Any]) -> None:
    old = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    add(
        db,
        *(
            delta(old + timedelta(minutes=m), started=m + 1, waits=[0, m], wait_seconds=0.5)
            for m in range(60)
        ),
        delta(old + timedelta(hours=1), started=1000, runs=[1]),
        delta(old, "mail", dead=1),
    )
    new = minutes_ago(db, 5)
    add(db, delta(new, started=7))
    while run(db, statements.roll_up_stats(DAY, 25)):  # a batch ends in the middle of an hour
        pass
    rows = db.execute(
        "select seconds, at, queue, started, dead, coalesce(waits[2], 0), coalesce(runs[1], 0), wait_seconds from pgqueue.stats order by 1, 2, 3"
    ).fetchall()
    assert rows == [
        (60, new, "default", 7, 0, 0, 0, 0.0),
        (3600, old, "default", 1830, 0, 1770, 0, 30.0),
        (3600, old, "mail", 0, 1, 0, 0, 0.0),
        (3600, old + timedelta(hours=1), "default", 1000, 0, 0, 1, 0.0),
    ]


def test_a_late_minute_is_added_to_the_hour_that_it_belongs_to(db: Connection[Any]) -> None:
    add(db, delta(NOON, started=1, runs=[1]))
    assert run(db, statements.roll_up_stats(DAY, 100)) == 1
    add(db, delta(NOON, started=2, runs=[0, 2]))
    assert run(db, statements.roll_up_stats(DAY, 100)) == 1
    assert run(db, statements.roll_up_stats(DAY, 100)) == 0
    assert db.execute("select seconds, started, runs[1:2] from pgqueue.stats").fetchall() == [
        (3600, 3, [1, 2])
    ]


def test_a_locked_minute_is_left_for_the_next_time(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    add(db, delta(NOON, "a", started=1), delta(NOON, "b", started=2))
    other = connect(autocommit=False)
    other.execute("update pgqueue.stats set started = 5 where queue = 'a'")
    assert run(db, statements.roll_up_stats(DAY, 100)) == 1
    other.commit()
    assert run(db, statements.roll_up_stats(DAY, 100)) == 1
    assert db.execute("select queue, seconds, started from pgqueue.stats order by 1").fetchall() == [
        ("a", 3600, 5),
        ("b", 3600, 2),
    ]


def test_only_hours_that_are_older_than_the_given_age_are_deleted(db: Connection[Any]) -> None:
    add(db, *(delta(NOON - timedelta(hours=h), started=1) for h in range(5)), delta(minutes_ago(db, 1)))
    run(db, statements.roll_up_stats(DAY, 100))
    age = datetime.now(UTC) - NOON + timedelta(hours=1.5)
    assert run(db, statements.purge_stats(age.total_seconds(), 2)) == 2
    assert run(db, statements.purge_stats(age.total_seconds(), 2)) == 1
    assert run(db, statements.purge_stats(age.total_seconds(), 2)) == 0
    assert db.execute("select seconds, count(*) from pgqueue.stats group by 1 order by 1").fetchall() == [
        (60, 1),
        (3600, 2),
    ]


SUMS = "sum(started), sum(completed), sum(dead), sum(wait_seconds), coalesce(sum(waits[3]), 0), coalesce(sum(runs[2]), 0)"


def totals(db: Connection[Any]) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = db.execute(
        f"select queue, task, {SUMS} from pgqueue.stats_totals group by 1, 2".encode()
    ).fetchall()
    return {(row[0], row[1]): row[2:] for row in rows}


def test_totals_are_the_sums_over_all_queues_and_all_tasks(db: Connection[Any]) -> None:
    for minute in range(3):
        at = NOON + timedelta(minutes=minute)
        add(db, *(
            delta(at, queue, task, started=number, completed=1, wait_seconds=0.5, waits=[0, 0, number], runs=[0, 1])
            for number, (queue, task) in enumerate([("a", "t"), ("a", "u"), ("b", "t")], 1)
        ))  # fmt: skip
    found = totals(db)
    base = f"select {SUMS} from pgqueue.stats"
    assert found[("", "")] == db.execute(base.encode()).fetchone()
    for queue in ("a", "b"):
        assert found[(queue, "")] == db.execute(f"{base} where queue = '{queue}'".encode()).fetchone()
    for task in ("t", "u"):
        assert found[("", task)] == db.execute(f"{base} where task = '{task}'".encode()).fetchone()
    assert set(found) == {("", ""), ("a", ""), ("b", ""), ("", "t"), ("", "u")}


def test_totals_keep_their_sums_when_they_become_quarters_and_hours(db: Connection[Any]) -> None:
    add(db, *(delta(NOON + timedelta(minutes=m), "a", started=m, waits=[0, 0, 1]) for m in range(120)))
    add(db, delta(minutes_ago(db, 1), "a", started=1000))
    before = totals(db)
    while run(db, statements.roll_up_totals(60, 900, HOUR, 50)):
        pass
    grains = "select seconds, count(*) from pgqueue.stats_totals where queue = '' and task = '' group by 1 order by 1"
    assert db.execute(grains.encode()).fetchall() == [(60, 1), (900, 8)]
    assert totals(db) == before
    while run(db, statements.roll_up_totals(900, 3600, HOUR, 50)):
        pass
    assert db.execute(grains.encode()).fetchall() == [(60, 1), (3600, 2)]
    assert totals(db) == before


def test_a_question_about_one_queue_and_one_task_and_one_about_all_have_the_same_sum(
    db: Connection[Any],
) -> None:
    add(
        db,
        delta(NOON, "a", "t", started=2),
        delta(NOON, "a", "u", started=3),
        delta(NOON, "b", "t", started=5),
    )
    window = (NOON, NOON + timedelta(minutes=1))

    def started(**asked: Any) -> list[int]:
        return sorted(one.counts.started for one in run(db, statements.sum_stats(*window, **asked)))

    assert started() == [10]
    assert started(by=["queue"]) == [5, 5]
    assert started(by=["task"]) == [3, 7]
    assert started(by=["queue", "task"]) == [2, 3, 5]
    assert started(queue="a") == [5]
    assert started(queue="a", by=["task"]) == [2, 3]
    assert started(task="t", by=["queue"]) == [2, 5]
    assert started(queue="a", task="t") == [2]


# ---------------------------------------------------------------- reading


def test_a_series_has_a_point_for_each_step_with_attempts_the_oldest_first(db: Connection[Any]) -> None:
    add(
        db,
        *(delta(NOON + timedelta(minutes=m), completed=m) for m in (1, 2, 7)),
        delta(NOON, "mail", completed=9),
    )
    until = NOON + timedelta(minutes=10)
    points = run(db, statements.list_stats(NOON, until, 300, queue="default"))
    assert [(p.at, p.queue, p.task, p.counts.completed) for p in points] == [
        (NOON, None, None, 3),
        (NOON + timedelta(minutes=5), None, None, 7),
    ]
    points = run(db, statements.list_stats(NOON, until, 60, by=["queue"], count=3))
    assert [(p.at.minute, p.queue, p.counts.completed) for p in points] == [
        (1, "default", 1),
        (2, "default", 2),
        (7, "default", 7),
    ]
    assert run(db, statements.list_stats(NOON, until, 60, task="other")) == []


def test_a_sum_says_how_long_jobs_waited_and_ran(db: Connection[Any]) -> None:
    times = {"waits": [0, 2, 0, 2], "wait_seconds": 8.0, "runs": [0, 1], "run_seconds": 3.0}
    add(
        db,
        delta(NOON, started=4, completed=1, **times),
        delta(NOON + timedelta(minutes=59), completed=9, runs=[1]),
    )
    add(db, delta(NOON + timedelta(minutes=60), completed=100))
    [total] = run(db, statements.sum_stats(NOON, NOON + timedelta(hours=1)))
    assert (total.queue, total.task, total.seconds) == (None, None, HOUR)
    assert total.per_second == pytest.approx(10 / HOUR)
    counts = total.counts
    assert (counts.started, counts.completed, counts.dead) == (4, 10, 0)
    assert (counts.wait_mean, counts.wait_p50, counts.run_mean) == (2.0, 2**-12, 1.5)
    assert counts.run_p99 == pytest.approx(2**-12.02)


def test_sums_are_divided_by_queue_and_task_the_busiest_first(db: Connection[Any]) -> None:
    add(
        db,
        delta(NOON, "a", "t", started=1),
        delta(NOON, "b", "t", started=5),
        delta(NOON, "a", "u", started=2),
    )
    until = NOON + timedelta(minutes=1)

    def sums(*by: Any, **options: Any) -> list[tuple[str | None, str | None, int]]:
        rows = run(db, statements.sum_stats(NOON, until, by=by, **options))
        return [(row.queue, row.task, row.counts.started) for row in rows]

    assert sums("queue") == [("b", None, 5), ("a", None, 3)]
    assert sums("task") == [(None, "t", 6), (None, "u", 2)]
    assert sums("queue", "task") == [("b", "t", 5), ("a", "u", 2), ("a", "t", 1)]
    assert sums("queue", "task", count=1) == [("b", "t", 5)]
    assert sums("task", queue="a") == [(None, "u", 2), (None, "t", 1)]
    assert sums(queue="none") == []


def test_the_view_shows_each_minute_with_its_times(db: Connection[Any]) -> None:
    add(
        db,
        delta(NOON, completed=30, started=2, waits=[0, 2], wait_seconds=1.0, runs=[0, 0, 1], run_seconds=0.5),
    )
    row = db.execute(
        "select at, seconds, queue, task, completed, completed_per_second, wait_mean, wait_p50, run_mean, run_p95"
        " from pgqueue.throughput"
    ).fetchone()
    assert row == (
        NOON,
        60,
        "default",
        "t",
        30,
        0.5,
        0.5,
        pytest.approx(2**-12.5),
        0.5,
        pytest.approx(2**-11.05),
    )


# ---------------------------------------------------------------- when a queue will be empty


def drain(db: Connection[Any], queue: str = "default") -> QueueDrain:
    [found] = [row for row in run(db, statements.estimate_drain()) if row.queue == queue]
    return found


def long_waits(n: int) -> dict[str, Any]:
    return {"started": n, "waits": [0] * 27 + [n]}  # all of them waited for more than an hour


def short_waits(n: int) -> dict[str, Any]:
    return {"started": n, "waits": [n]}


def test_a_backlog_without_new_jobs_drains_at_the_rate_of_the_starts(db: Connection[Any]) -> None:
    add_jobs(db, count=600, run_at=minutes_ago(db, 60))
    add(db, *(delta(minutes_ago(db, m), **long_waits(60)) for m in range(1, 5)))
    found = drain(db)
    assert (found.due, found.is_exact, found.paused, found.trend) == (600, True, False, "draining")
    assert found.measured is not None
    assert 240 <= found.measured <= 360
    assert found.arrived_per_second == 0
    assert found.seconds == pytest.approx(600 / (240 / found.measured))


def test_jobs_that_became_due_meanwhile_are_subtracted_whether_they_were_started_or_not(
    db: Connection[Any],
) -> None:
    add_jobs(db, count=500, run_at=minutes_ago(db, 60))
    add_jobs(db, count=60, run_at=minutes_ago(db, 1))
    add_jobs(db, key="k", count=40, run_at=minutes_ago(db, 1))
    add(db, *(delta(minutes_ago(db, m), **long_waits(100)) for m in range(1, 5)))
    add(db, delta(minutes_ago(db, 2), task="urgent", **short_waits(100)))
    found = drain(db)
    assert found.measured is not None
    assert found.started_per_second == pytest.approx(500 / found.measured)
    assert found.arrived_per_second == pytest.approx((60 + 40 + 100) / found.measured, rel=0.01)
    assert found.seconds == pytest.approx(600 / (300 / found.measured), rel=0.01)


@pytest.mark.parametrize(
    ("due", "started", "trend"),
    [(200, 100, "growing"), (100, 100, "steady"), (100, 0, "idle"), (0, 100, "empty")],
)
def test_an_estimate_says_why_it_knows_no_time(
    db: Connection[Any], due: int, started: int, trend: str
) -> None:
    add_jobs(db, count=due, run_at=minutes_ago(db, 1))
    if started:
        add(db, delta(minutes_ago(db, 3), **long_waits(started)))
    found = drain(db)
    assert found.trend == trend
    assert found.seconds == (0 if trend == "empty" else None)


def test_an_estimate_says_that_a_queue_is_paused(db: Connection[Any]) -> None:
    add_jobs(db, run_at=minutes_ago(db, 1))
    run(db, statements.pause_queue("default"))
    assert drain(db).paused


def test_a_long_backlog_is_estimated_and_its_newest_jobs_say_how_fast_it_grows(db: Connection[Any]) -> None:
    db.execute(
        "insert into pgqueue.jobs_live (task, run_at) select 't', now() - make_interval(secs => i / 1000.0)"
        " from generate_series(1, 30000) i"
    )
    add(db, delta(minutes_ago(db, 3), **long_waits(100)))
    found = drain(db)
    assert found.due == pytest.approx(30_000, rel=0.2)
    assert found.arrived_per_second == pytest.approx(1000, rel=0.3)
    assert found.trend == "growing"


# ---------------------------------------------------------------- counts of jobs


def states(db: Connection[Any], most: int = 100) -> dict[str, StateCount]:
    return {row.state: row for row in run(db, statements.count_live(most))}


def test_few_jobs_are_counted_exactly(db: Connection[Any]) -> None:
    add_jobs(db, count=3)
    add_jobs(db, key="k", count=2, state="retrying")
    add_jobs(db, count=4, run_at=NOON + timedelta(days=9000))
    db.execute(
        "insert into pgqueue.jobs_live (task, state, worker_id) values ('t', 'running', 1), ('t', 'waiting', null)"
    )
    db.execute(
        "insert into pgqueue.jobs_dead (task, state, finished_at) select 't', 'dead', now() from generate_series(1, 6)"
    )
    db.execute(
        "insert into pgqueue.jobs_done (task, state, finished_at) select 't', case when i < 3 then 'cancelled' else 'completed' end, now()"
        " from generate_series(1, 9) i"
    )
    found = states(db)
    assert all(row.is_exact for row in found.values())
    assert {name: row.count for name, row in found.items()} == {
        "due": 5, "scheduled": 4, "pending": 7, "retrying": 2, "waiting": 1, "running": 1, "dead": 6, "completed": 7, "cancelled": 2,
    }  # fmt: skip
    assert list(found) == [
        "due",
        "scheduled",
        "pending",
        "retrying",
        "waiting",
        "running",
        "dead",
        "completed",
        "cancelled",
    ]


def test_many_jobs_are_estimated_in_a_large_table(db: Connection[Any]) -> None:
    # a page has room for few of these rows, so the table has many more pages than are read
    db.execute("alter table pgqueue.jobs_live set (fillfactor = 10)")
    db.execute(
        "insert into pgqueue.jobs_live (task, run_at, state, last_error)"
        " select 't', now() + case when i % 2 = 0 then interval '1 h' else '-1 h' end, case when i % 4 = 0 then 'retrying' else 'pending' end,"
        " repeat(md5(i::text), 20) from generate_series(1, 12000) i"
    )
    db.execute(
        "insert into pgqueue.jobs_done (task, state, finished_at, last_error)"
        " select 't', case when i % 4 = 0 then 'cancelled' else 'completed' end, '2020-01-01', repeat(md5(i::text), 30)"
        " from generate_series(1, 20000) i"
    )
    [(pages,)] = db.execute("select pg_relation_size('pgqueue.jobs_live') / 8192").fetchall()
    assert pages > 4000
    found = states(db)
    expected = {
        "due": 6000,
        "scheduled": 6000,
        "pending": 9000,
        "retrying": 3000,
        "completed": 15_000,
        "cancelled": 5000,
    }
    for name, number in expected.items():
        assert not found[name].is_exact, name
        # 500 pages are read, chosen by chance, so each number has a standard deviation, and of a hundred runs none may fail by chance
        assert abs(found[name].count - number) < 5 * math.sqrt(number * pages / 500), name
    assert found["running"] == StateCount("running", 0, True)
    assert not found["waiting"].is_exact
    exact = states(db, most=20_000)
    assert exact["pending"] == StateCount("pending", 9000, True)
    assert exact["completed"] == StateCount("completed", 15_000, True)


def test_reading_takes_no_lock_that_a_write_waits_for(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    reader = connect(autocommit=False)
    for statement in (statements.count_live(), statements.estimate_drain(), statements.sum_stats(NOON, NOON)):
        run(reader, statement)
    add(db, delta(NOON, started=1))
    assert count(db, "stats") == 1
