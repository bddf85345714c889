"""Days are made ahead and dropped when over age, whatever lies about, whatever the clock says, and nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import IsolationLevel

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import ORDINARY, run
from pgqueue.maintenance.partitions import Partitions
from pgqueue.model.outcome import COMPLETED
from tests.days_of_jobs import PARENTS, days, finish, make_days, name_of, places
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

CROWD = 5001  # so many rows are no longer moved


def add(db, ahead=3):
    return [(change.name, change.what) for change in run(db, statements.add_partitions(ahead))]


def drop(db):
    """Drops partitions until nothing is left to do, or one is locked."""
    found = []
    while (change := run(db, statements.drop_partitions())) is not None:
        found.append((change.name, change.what))
        if change.what == "locked":
            break
    return found


@pytest.fixture
def keep(dsn):
    """Takes a leader's turns at the partitions; returns what the last turn returned."""

    def turn(turns=1):
        async def go():
            link = Link(dsn, "pgqueue upkeep", Outage(dsn), session=ORDINARY)
            partitions = Partitions(link)
            try:
                return [await partitions.keep() for _ in range(turns)][-1]
            finally:
                await link.close()

        return asyncio.run(go())

    return turn


# ------------------------------------------------------------------ made ahead


def test_days_are_made_ahead_and_only_once(db):
    assert len(add(db)) == 2 * 4
    assert add(db) == []
    assert days(db) == days(db, "transitions") == [0, -1, -2, -3]
    assert run(db, statements.check_partitions()) == []


def test_workers_that_start_together_make_the_same_days(connect):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(add, [connect() for _ in range(4)]))
    assert sorted(map(len, made)) == [0, 0, 0, 8]


def test_a_day_is_found_by_id_and_written_once(db):
    add(db)
    options = db.execute("select c.reloptions from pg_class c where c.relname = %s", [name_of(0)]).fetchone()[
        0
    ]
    assert "autovacuum_freeze_min_age=0" in options
    [job] = finish(db, 0)
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("insert into pgqueue.jobs_done select * from pgqueue.jobs_done where id = %s", [job])


# ------------------------------------------------------------------ the default partition


def test_rows_that_came_before_their_day_move_into_it(db):
    jobs = finish(db, 0, 20) + finish(db, -1)
    assert set(places(db).values()) == {"pgqueue.jobs_done_default"}
    assert [what for _, what in add(db)] == ["made"] * 8
    assert places(db) == dict.fromkeys(jobs, f"pgqueue.{name_of(0)}") | {jobs[-1]: f"pgqueue.{name_of(-1)}"}
    assert not db.execute("select conname from pg_constraint where conname = 'bounds'").fetchall()


def test_too_many_rows_stay_where_they_are_until_retention(db, keep):
    jobs = finish(db, 0, CROWD)
    assert (name_of(0), "crowded") in add(db)
    keep()
    assert days(db) == [-1, -2, -3], "the other days are made"
    assert len(run(db, statements.check_partitions())) == 2, "the doctor tells of the day and of the rows"
    assert places(db).keys() == set(jobs)
    db.execute("update pgqueue.jobs_done_default set finished_at = finished_at - interval '8 days'")
    keep()
    assert len(places(db)) == CROWD, "no week was made yet that would prove that a week passed"
    make_days(db, *range(1, 8))
    keep()
    assert keep()
    assert places(db) == {}
    assert 0 in days(db)


@pytest.mark.parametrize("ahead", [0, 3])
def test_who_settles_while_todays_day_is_attached_waits_and_does_not_fail(db, connect, ahead):
    """Without the wait, its insert would choose the default partition, which no longer takes rows of that day."""
    hand = Hand(connect(), ["t"])
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    [attempt] = hand.claim()
    maker = connect(autocommit=False)
    with ThreadPoolExecutor(1) as pool:
        add(maker, ahead)
        settled = pool.submit(hand.settle, attempt, COMPLETED)
        waiting = "select cardinality(pg_blocking_pids(%s)) > 0"
        wait_until(lambda: db.execute(waiting, [hand.db.info.backend_pid]).fetchone()[0] or settled.done())
        maker.commit()
        assert settled.result(timeout=20)
    assert places(db) == {attempt.id: f"pgqueue.{name_of(0)}"}


# ------------------------------------------------------------------ locks


@pytest.mark.parametrize("read", ["pgqueue.jobs", "pgqueue.jobs_done", "oldest"])
def test_nobody_queues_behind_a_reader(db, connect, read):
    """A reader keeps its lock for hours. A worker that settles meanwhile never waits, though upkeep tries again and again."""
    add(db, 1)
    make_days(db, *range(1, 9))
    reader = connect(autocommit=False)
    reader.execute(f"select 1 from {read if read != 'oldest' else 'pgqueue.' + name_of(8)} limit 1".encode())
    settler = connect()
    settler.execute("set lock_timeout = '20ms'")
    with ThreadPoolExecutor(1) as pool:
        tries = pool.submit(lambda: [drop(db) + add(db, 2) for _ in range(5)])
        settled = 0
        while not tries.done():
            finish(settler, 0)  # raises LockNotAvailable if it waits
            settled += 1
    assert settled > 5
    for tried in tries.result():
        assert (name_of(8), "locked") in tried
        if read != "oldest":
            assert (name_of(-2), "locked") in tried
    reader.rollback()
    assert drop(db) == [(name_of(8, parent), "dropped") for parent in PARENTS]
    add(db, 2)
    assert days(db)[-1] == -2


def test_a_worker_that_starts_does_not_wait_for_a_reader_either(db, connect):
    connect(autocommit=False).execute("select 1 from pgqueue.jobs_done")
    db.execute("set statement_timeout = '5s'")
    assert {what for name, what in add(db) if name.startswith("jobs_done")} == {"locked"}


def test_short_transactions_do_not_keep_a_day(db, connect):
    add(db)
    make_days(db, *range(1, 9))
    settler = connect()
    with ThreadPoolExecutor(1) as pool:
        dropped = pool.submit(drop, db)
        while not dropped.done():
            finish(settler, 0, 50)
    assert len(dropped.result()) == 2


def test_a_lock_is_no_outage_and_is_told_once(db, connect, keep, caplog):
    caplog.set_level(logging.INFO, "pgqueue")
    connect(autocommit=False).execute("select 1 from pgqueue.jobs_done")
    assert keep(turns=2) is False
    assert caplog.text.count(f"another transaction holds the tables of {name_of(0)}") == 1
    assert "went away" not in caplog.text


# ------------------------------------------------------------------ retention and the clock


def test_the_longest_retention_rules_the_days(db, keep):
    add(db)
    make_days(db, *range(1, 12))
    keep()
    assert days(db) == days(db, "transitions") == [*range(7, -4, -1)]
    db.execute("insert into pgqueue.queues (name, retention) values ('short', '1 day')")
    db.execute("update pgqueue.queues set retention = '3 days' where name = 'default'")
    keep()
    assert days(db) == [*range(3, -4, -1)]


def test_endless_retention_drops_nothing(db):
    add(db)
    make_days(db, *range(1, 12))
    db.execute("update pgqueue.queues set retention = '90000 days'")
    assert drop(db) == []


def test_a_queue_that_keeps_less_loses_its_rows_and_nobody_else(db, keep):
    db.execute("insert into pgqueue.queues (name, retention) values ('short', '2 days')")
    add(db)
    make_days(db, *range(1, 8))
    kept = finish(db, 5, 3000) + finish(db, 2, queue="short") + finish(db, 7, queue="unlisted")
    finish(db, 3, 3000, queue="short")
    finish(db, 5, queue="short")
    keep()
    assert places(db).keys() == set(kept)
    assert days(db) == [*range(7, -4, -1)]


def test_a_clock_that_jumps_ahead_drops_no_week(db, keep):
    """As after a jump of a month: all former days are a month old, and four new days are made."""
    make_days(db, *range(31, 39))
    jobs = finish(db, 31) + finish(db, 37)
    finish(db, 100)  # in the default partition
    keep()
    assert days(db) == [*range(37, 30, -1), 0, -1, -2, -3], "eight days are kept, as ever"
    assert places(db).keys() == set(jobs)
    make_days(db, 2, 1)
    keep()
    assert days(db) == [*range(35, 30, -1), *range(2, -4, -1)], "they go one by one, as new days come"


def test_a_clock_that_goes_back_makes_no_day_twice_and_drops_none(db, keep):
    """As after going back by ten days: tables of future days exist, with rows."""
    make_days(db, *range(-10, -3), *range(-14, -10))
    jobs = finish(db, -10) + finish(db, -20)
    keep()
    keep()
    assert days(db) == [*range(0, -15, -1)]
    assert places(db).keys() == set(jobs)
    add(db, 20)
    assert places(db)[jobs[1]] == f"pgqueue.{name_of(-20)}"


def test_a_dump_of_old_days_keeps_as_many_as_a_living_queue(db, keep):
    make_days(db, *range(60, 72))
    keep()
    assert days(db) == [*range(66, 59, -1), 0, -1, -2, -3]


# ------------------------------------------------------------------ what lies detached


def test_a_detached_day_is_attached_again(db, keep):
    add(db)
    make_days(db, 3)
    [job] = finish(db, 3)
    db.execute(f"alter table pgqueue.jobs_done detach partition pgqueue.{name_of(3)}".encode())
    db.execute(f"drop index pgqueue.{name_of(3)}_id_key".encode())
    assert run(db, statements.get_job(job)) is None
    assert [fault.fault for fault in run(db, statements.check_partitions())] == ["detached"]
    assert keep()
    assert run(db, statements.get_job(job)).state == "completed"
    assert run(db, statements.check_partitions()) == []
    assert db.execute("select to_regclass(%s)", [f"pgqueue.{name_of(3)}_id_key"]).fetchone()[0]


def test_a_detached_day_that_is_over_age_goes(db):
    add(db)
    make_days(db, *range(1, 9))
    db.execute(f"alter table pgqueue.jobs_done detach partition pgqueue.{name_of(8)}".encode())
    assert (name_of(8), "dropped") in drop(db)


def test_a_half_detached_day_is_brought_back(db, connect, keep):
    add(db)
    [job] = finish(db, 0)
    db.execute("drop table pgqueue.jobs_done_default")  # a default partition forbids DETACH CONCURRENTLY
    reader = connect(autocommit=False)
    reader.isolation_level = IsolationLevel.REPEATABLE_READ
    reader.execute("select 1 from pgqueue.jobs_done")
    db.execute("set lock_timeout = '100ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        db.execute(
            f"alter table pgqueue.jobs_done detach partition pgqueue.{name_of(0)} concurrently".encode()
        )
    reader.rollback()
    db.execute("create table pgqueue.jobs_done_default partition of pgqueue.jobs_done default")
    assert [fault.fault for fault in run(db, statements.check_partitions())] == ["detaching"]
    assert keep()
    assert run(db, statements.check_partitions()) == []
    assert run(db, statements.get_job(job)).state == "completed"


def test_a_table_that_cannot_be_attached_stops_nobody(db, keep, caplog):
    db.execute(f"create table pgqueue.{name_of(0)} (like pgqueue.jobs_done)".encode())
    db.execute("create table pgqueue.jobs_done_20260231 (x int)")
    db.execute("create table pgqueue.jobs_done_19999999 (x int)")
    make_days(db, 1)
    [job] = finish(db, 1)
    db.execute(f"insert into pgqueue.{name_of(0)} select * from pgqueue.jobs_done".encode())
    keep(turns=2)
    assert days(db) == [1, -1, -2, -3]
    assert caplog.text.count(f"{name_of(0)} lies detached and cannot be attached: check constraint") == 1
    assert run(db, statements.get_job(job)).id == job


# ------------------------------------------------------------------ many days cost nothing


def test_thirty_days_cost_a_claim_nothing_and_a_lookup_one_probe_each(db):
    add(db)
    make_days(db, *range(1, 31))
    for ago in range(31):
        finish(db, ago, 2000)
    db.execute("analyze pgqueue.jobs_done")
    statement = statements.claim(1, ["t"], [("default", 0)], [(0.0, 0)], 10)
    claim = db.execute("explain " + statement.text, statement.parameters).fetchall()
    assert "jobs_done" not in str(claim)
    for mode in ("force_generic_plan", "force_custom_plan"):
        db.execute(f"set plan_cache_mode = {mode}".encode())
        lookup = statements.get_job(finish(db, 17)[0])
        explain = "explain (analyze, buffers, format json) " + lookup.text
        for _ in range(2):
            [[[found]]] = db.execute(explain, lookup.parameters, prepare=True).fetchall()
        scans = [node for node in nodes(found["Plan"]) if "Relation Name" in node]
        assert len(scans) >= 34
        empty = {"jobs_done_default", "jobs_dead", "jobs_live", *(name_of(ago) for ago in (-1, -2, -3))}
        read = {scan["Node Type"] for scan in scans if scan["Relation Name"] not in empty}
        assert read <= {"Index Scan", "Bitmap Heap Scan"}, read
        assert found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"] < 3 * len(scans)


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
