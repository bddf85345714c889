"""Maintenance deletes old rows, and no row that is still needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.new_job import Batch
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import add_jobs
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

AGES_AGO = datetime(2024, 12, 1, tzinfo=UTC)
TABLES = "select c.relname from pg_class c where c.relnamespace = 'pgqueue'::regnamespace and c.relkind = 'r' and c.relname ~ '^(jobs|transitions)_'"


def upkeep(db: Connection[Any]) -> None:
    """Deletes old rows in every table, as the leader does."""
    while (change := run(db, statements.drop_partitions())) is not None and change.what == "dropped":
        pass
    for (table,) in db.execute(TABLES).fetchall():
        run(db, statements.purge_jobs(table, 0, 500))
    run(db, statements.purge(1000))
    run(db, statements.purge_runs(1000))


@pytest.fixture
def old(db: Connection[Any]) -> Connection[Any]:
    """Returns a connection to a database with a retention of one day. It also has an old day table, which proves that days have passed: without old day tables, retention deletes nothing."""
    db.execute("update pgqueue.queues set retention = '1 day'")
    run(db, statements.add_partitions(3))
    db.execute(
        "create table pgqueue.jobs_done_20250101 partition of pgqueue.jobs_done for values from ('2025-01-01 00:00+00') to ('2025-01-02 00:00+00')"
    )
    return db


def test_dead_jobs_are_kept_when_completed_jobs_of_the_same_age_are_deleted(old: Connection[Any]) -> None:
    [dead] = add_jobs(old, state="dead", finished_at=AGES_AGO)
    add_jobs(old, state="completed", finished_at=AGES_AGO)
    upkeep(old)
    assert old.execute("select id from pgqueue.jobs").fetchall() == [(dead,)]


def test_the_row_of_a_worker_stays_as_long_as_a_job_refers_to_it(old: Connection[Any]) -> None:
    busy, _, living = (Hand(old, ["t"]) for _ in range(3))
    add_jobs(old)
    [attempt] = busy.claim()
    old.execute(
        "update pgqueue.workers set state = 'expired', stopped_at = %s where id <> %s", [AGES_AGO, living.id]
    )
    upkeep(old)
    left = "select id from pgqueue.workers"
    assert set(old.execute(left)) == {(busy.id,), (living.id,)}
    assert busy.settle(attempt, COMPLETED)
    upkeep(old)
    assert old.execute(left).fetchall() == [(living.id,)]


def test_the_last_run_of_a_schedule_and_runs_with_unfinished_jobs_are_kept(
    old: Connection[Any],
) -> None:
    [(schedule,)] = old.execute(
        "insert into pgqueue.schedules (name, task, every) values ('s', 't', '1 h') returning id"
    ).fetchall()
    [unfinished] = add_jobs(old)
    for hours, job in ((0, None), (1, unfinished), (2, None), (3, None)):
        old.execute(
            "insert into pgqueue.schedule_runs (schedule_id, fire_at, state, job_id) values (%s, %s, 'enqueued', %s)",
            [schedule, AGES_AGO + timedelta(hours=hours), job],
        )
    upkeep(old)
    left = old.execute("select fire_at from pgqueue.schedule_runs order by fire_at").fetchall()
    assert [at for (at,) in left] == [AGES_AGO + timedelta(hours=hours) for hours in (1, 3)]


def test_jobs_of_a_worker_whose_row_is_gone_are_rescued(db: Connection[Any]) -> None:
    gone, living = Hand(db, ["t"]), Hand(db, ["t"])
    add_jobs(db, count=2)
    gone.claim(1)
    [kept] = living.claim(1)
    db.execute("delete from pgqueue.workers where id = %s", [gone.id])
    assert run(db, statements.adopt_orphans()) == [gone.id]
    assert run(db, statements.adopt_orphans()) == []
    assert [job.worker_id for job in run(db, statements.rescue(3, 100))] == [gone.id]
    assert living.settle(kept, COMPLETED)
    assert len(living.claim()) == 1


@pytest.mark.parametrize("columns", [{}, {"concurrency_key": "k"}, {"delay": 86_400}])
def test_the_leader_adds_a_queue_with_jobs_to_the_table_of_queues_even_if_no_worker_serves_it(
    db: Connection[Any], columns: dict[str, Any]
) -> None:
    run(db, statements.enqueue_many([Batch("t", ["{}"], {"queue": "mail", **columns})]))
    assert run(db, statements.discover_queues()) == ["mail"]
    assert run(db, statements.discover_queues()) == []
    assert run(db, statements.match_queues(["ma%"])) != []


def test_one_worker_leads_until_its_time_as_leader_has_run_out(db: Connection[Any]) -> None:
    first, second = Hand(db, ["t"]).id, Hand(db, ["t"]).id
    assert run(db, statements.elect(first, 30.0)).leads
    other = run(db, statements.elect(second, 30.0))
    assert (other.leads, 25 < other.left <= 30) == (False, True)
    assert run(db, statements.elect(first, 30.0)).leads
    db.execute("update pgqueue.leader set expires_at = clock_timestamp() - interval '1 ms'")
    assert run(db, statements.elect(second, 30.0)).leads
    assert not run(db, statements.elect(first, 30.0)).leads


@pytest.mark.parametrize("former", ["none", "expired"])
def test_one_of_two_workers_leads_if_both_ask_at_the_same_time(
    db: Connection[Any], connect: Callable[..., Connection[Any]], former: str
) -> None:
    if former == "expired":
        run(db, statements.elect(3, 30.0))
        db.execute("update pgqueue.leader set expires_at = clock_timestamp() - interval '1 ms'")
    one, two = connect(autocommit=False), connect()
    assert run(one, statements.elect(1, 30.0)).leads
    waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(run, two, statements.elect(2, 30.0))
        wait_until(lambda: later.done() or db.execute(waits, [two.info.backend_pid]).fetchone() == (True,))
        one.commit()
        assert not later.result(timeout=20).leads


def test_a_worker_that_asks_to_lead_does_not_wait_for_the_lock_of_the_leader(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    run(db, statements.elect(1, 30.0))
    renewing = connect(autocommit=False)
    assert run(renewing, statements.elect(1, 30.0)).leads
    db.execute("set lock_timeout = '50ms'")
    assert not run(db, statements.elect(2, 30.0)).leads


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize("given", [{}, {"idempotency_ttl": 60}])
def test_an_idempotency_key_is_kept_for_a_week_unless_idempotency_ttl_is_given(
    db: Connection[Any], given: dict[str, int]
) -> None:
    from psycopg.types.json import Jsonb

    db.execute("select pgqueue.enqueue('t', '{}', %s)", [Jsonb({"idempotency_key": "k", **given})])
    [(life,)] = db.execute("select expires_at - created_at from pgqueue.idempotency_keys").fetchall()
    expected = timedelta(seconds=given.get("idempotency_ttl", 7 * 86_400))
    assert abs(life - expected) < timedelta(seconds=5)


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"], ["a"], ["b"], ["a", "b", "c"]])
@pytest.mark.parametrize("first", [{}, {"b": None}, {"a": None}, {"a": None, "b": None}])
@pytest.mark.parametrize("second", [{}, {"b": None}, {"a": None}, {"a": None, "b": None}])
def test_a_unique_key_is_the_same_whether_an_argument_is_null_or_missing(
    db: Connection[Any], names: list[str], first: dict[str, None], second: dict[str, None]
) -> None:
    from psycopg.types.json import Jsonb

    key = "select k.unique_key from pgqueue.unique_key(%s, %s, null, null, now()) k"
    one, two = (db.execute(key, [Jsonb(args), Jsonb(names)]).fetchone() for args in (first, second))
    assert one == two
    assert one != db.execute(key, [Jsonb({names[0]: 1}), Jsonb(names)]).fetchone()


# ------------------------------------------------------------------ days


# These zones are 26 hours apart, so at every moment the date in one of them differs from the date in UTC.
ZONES = ("Pacific/Kiritimati", "Etc/GMT+12")


@pytest.mark.parametrize("zone", ZONES)
def test_day_tables_contain_days_of_utc_whatever_the_time_zone_of_the_session_is(
    db: Connection[Any], zone: str
) -> None:
    db.execute("set timezone = 'UTC'")
    run(db, statements.add_partitions(3))
    expected = sorted(name for (name,) in db.execute("select name from pgqueue.day_tables()"))
    db.execute(f"set timezone = '{zone}'")
    assert run(db, statements.add_partitions(3)) == []
    hand = Hand(db, ["t"])
    add_jobs(db)
    assert hand.settle(hand.claim()[0], Outcome.completed("1"))
    assert db.execute("select count(*) from pgqueue.jobs_done_default").fetchone() == (0,)
    days = "select (clock_timestamp() at time zone 'UTC')::date - pgqueue.expired_before('0 s')"
    assert db.execute(days).fetchone() == (0,)
    assert sorted(name for (name,) in db.execute("select name from pgqueue.day_tables()")) == expected


def test_a_job_that_finished_at_midnight_is_stored_in_the_table_of_the_new_day(db: Connection[Any]) -> None:
    run(db, statements.add_partitions(3))
    for zone in ZONES:
        db.execute(f"set timezone = '{zone}'")
        for moment, day in (("23:59:59.999999", 1), ("24:00", 2)):
            [job] = add_jobs(db, state="completed", finished_at="now")
            text = """update pgqueue.jobs_done set finished_at = ((now() at time zone 'UTC')::date + 1 + %s::interval) at time zone 'UTC'
                      where id = %s returning tableoid::regclass::text, to_char((now() at time zone 'UTC')::date + %s, '_YYYYMMDD')"""
            [(table, suffix)] = db.execute(text, [moment, job, day]).fetchall()
            assert table.endswith(suffix)
