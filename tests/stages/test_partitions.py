"""Day tables are made ahead of time and dropped when they are too old. Neither leftover tables nor a wrong clock prevent this, and no worker waits while this is done."""

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

CROWD = 5001  # if the default partition has this many rows of a day, they are too many to be moved into the day table


def add(db, ahead=3):
    return [(change.name, change.what) for change in run(db, statements.add_partitions(ahead))]


def drop(db):
    """Drops day tables until none is too old, or until one is locked."""
    found = []
    while (change := run(db, statements.drop_partitions())) is not None:
        found.append((change.name, change.what))
        if change.what == "locked":
            break
    return found


@pytest.fixture
def keep(dsn):
    """Returns a function that maintains the partitions as a leader does, once or several times, and returns the result of the last call."""

    def maintain(times=1):
        async def go():
            link = Link(dsn, "pgqueue upkeep", Outage(dsn), session=ORDINARY)
            partitions = Partitions(link)
            try:
                return [await partitions.keep() for _ in range(times)][-1]
            finally:
                await link.close()

        return asyncio.run(go())

    return maintain


# ------------------------------------------------------------------ day tables are made ahead of time


def test_day_tables_are_made_ahead_of_time_and_only_once(db):
    assert len(add(db)) == 2 * 4
    assert add(db) == []
    assert days(db) == days(db, "transitions") == [0, -1, -2, -3]
    assert run(db, statements.check_partitions()) == []


def test_workers_that_start_at_the_same_time_make_each_day_table_only_once(connect):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(add, [connect() for _ in range(4)]))
    assert sorted(map(len, made)) == [0, 0, 0, 8]


def test_a_day_table_has_unique_ids_and_its_vacuum_freezes_rows_immediately(db):
    add(db)
    options = db.execute("select c.reloptions from pg_class c where c.relname = %s", [name_of(0)]).fetchone()[
        0
    ]
    assert "autovacuum_freeze_min_age=0" in options
    [job] = finish(db, 0)
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("insert into pgqueue.jobs_done select * from pgqueue.jobs_done where id = %s", [job])


# ------------------------------------------------------------------ the default partition


def test_rows_in_the_default_partition_move_into_their_day_table_when_it_is_made(db):
    jobs = finish(db, 0, 20) + finish(db, -1)
    assert set(places(db).values()) == {"pgqueue.jobs_done_default"}
    assert [what for _, what in add(db)] == ["made"] * 8
    assert places(db) == dict.fromkeys(jobs, f"pgqueue.{name_of(0)}") | {jobs[-1]: f"pgqueue.{name_of(-1)}"}
    assert not db.execute("select conname from pg_constraint where conname = 'bounds'").fetchall()


def test_rows_that_are_too_many_to_move_stay_in_the_default_partition_until_retention_deletes_them(db, keep):
    jobs = finish(db, 0, CROWD)
    assert (name_of(0), "crowded") in add(db)
    keep()
    assert days(db) == [-1, -2, -3], "the day tables of the other days are made"
    assert len(run(db, statements.check_partitions())) == 2, (
        "the doctor reports the missing day table, and the rows in the default partition"
    )
    assert places(db).keys() == set(jobs)
    db.execute("update pgqueue.jobs_done_default set finished_at = finished_at - interval '8 days'")
    keep()
    assert len(places(db)) == CROWD, (
        "the rows stay until the day tables of a whole week prove that a week has passed"
    )
    make_days(db, *range(1, 8))
    keep()
    assert keep()
    assert places(db) == {}
    assert 0 in days(db)


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_worker_that_settles_while_todays_table_is_attached_waits_and_succeeds(db, connect, ahead):
    """Without the wait, the insert of the worker would choose the default partition, which no longer takes rows of that day."""
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
def test_a_worker_never_waits_while_a_reader_keeps_the_leader_from_dropping_a_day_table(db, connect, read):
    """A reader keeps its lock for hours, and the leader tries again and again to drop and add day tables. A worker that settles meanwhile never waits."""
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


def test_a_worker_that_starts_does_not_wait_for_a_reader(db, connect):
    connect(autocommit=False).execute("select 1 from pgqueue.jobs_done")
    db.execute("set statement_timeout = '5s'")
    assert {what for name, what in add(db) if name.startswith("jobs_done")} == {"locked"}


def test_a_day_table_is_dropped_although_short_transactions_use_its_parent_all_the_time(db, connect):
    add(db)
    make_days(db, *range(1, 9))
    settler = connect()
    with ThreadPoolExecutor(1) as pool:
        dropped = pool.submit(drop, db)
        while not dropped.done():
            finish(settler, 0, 50)
    assert len(dropped.result()) == 2


def test_a_lock_is_logged_once_and_not_as_an_outage(db, connect, keep, caplog):
    caplog.set_level(logging.INFO, "pgqueue")
    connect(autocommit=False).execute("select 1 from pgqueue.jobs_done")
    assert keep(times=2) is False
    assert caplog.text.count(f"another transaction holds the tables of {name_of(0)}") == 1
    assert "went away" not in caplog.text


# ------------------------------------------------------------------ retention and the clock


def test_day_tables_are_kept_as_long_as_the_longest_retention_of_a_queue(db, keep):
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


def test_a_shorter_retention_of_a_queue_deletes_only_rows_of_this_queue(db, keep):
    db.execute("insert into pgqueue.queues (name, retention) values ('short', '2 days')")
    add(db)
    make_days(db, *range(1, 8))
    kept = finish(db, 5, 3000) + finish(db, 2, queue="short") + finish(db, 7, queue="unlisted")
    finish(db, 3, 3000, queue="short")
    finish(db, 5, queue="short")
    keep()
    assert places(db).keys() == set(kept)
    assert days(db) == [*range(7, -4, -1)]


def test_the_last_seven_day_tables_stay_when_the_clock_jumps_ahead(db, keep):
    """The test makes the tables that exist after the clock has jumped ahead by a month. All former day tables are a month old, and four new ones are made."""
    make_days(db, *range(31, 39))
    jobs = finish(db, 31) + finish(db, 37)
    finish(db, 100)  # in the default partition
    keep()
    assert days(db) == [*range(37, 30, -1), 0, -1, -2, -3], (
        "the tables of seven former days and of today are kept, as always"
    )
    assert places(db).keys() == set(jobs)
    make_days(db, 2, 1)
    keep()
    assert days(db) == [*range(35, 30, -1), *range(2, -4, -1)], (
        "for each new day table, one old day table is dropped"
    )


def test_no_day_table_is_made_twice_or_dropped_when_the_clock_goes_back(db, keep):
    """The test makes the tables that exist after the clock has gone back by ten days: there are day tables of future days, and they have rows."""
    make_days(db, *range(-10, -3), *range(-14, -10))
    jobs = finish(db, -10) + finish(db, -20)
    keep()
    keep()
    assert days(db) == [*range(0, -15, -1)]
    assert places(db).keys() == set(jobs)
    add(db, 20)
    assert places(db)[jobs[1]] == f"pgqueue.{name_of(-20)}"


def test_seven_day_tables_of_a_restored_old_dump_are_kept(db, keep):
    make_days(db, *range(60, 72))
    keep()
    assert days(db) == [*range(66, 59, -1), 0, -1, -2, -3]


# ------------------------------------------------------------------ detached tables


def test_a_detached_day_table_is_attached_again(db, keep):
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


def test_a_detached_day_table_that_is_too_old_is_dropped(db):
    add(db)
    make_days(db, *range(1, 9))
    db.execute(f"alter table pgqueue.jobs_done detach partition pgqueue.{name_of(8)}".encode())
    assert (name_of(8), "dropped") in drop(db)


def test_a_day_table_is_attached_again_if_its_detaching_was_interrupted(db, connect, keep):
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


def test_a_table_that_cannot_be_attached_is_logged_once_and_the_other_days_are_made(db, keep, caplog):
    db.execute(f"create table pgqueue.{name_of(0)} (like pgqueue.jobs_done)".encode())
    db.execute("create table pgqueue.jobs_done_20260231 (x int)")
    db.execute("create table pgqueue.jobs_done_19999999 (x int)")
    make_days(db, 1)
    [job] = finish(db, 1)
    db.execute(f"insert into pgqueue.{name_of(0)} select * from pgqueue.jobs_done".encode())
    keep(times=2)
    assert days(db) == [1, -1, -2, -3]
    assert caplog.text.count(f"{name_of(0)} is detached and cannot be attached: check constraint") == 1
    assert run(db, statements.get_job(job)).id == job


# ------------------------------------------------------------------ the cost of many days


def test_a_claim_reads_no_day_table_and_a_lookup_by_id_reads_only_one_index_of_each_day_table(db):
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
