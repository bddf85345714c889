"""The leader rebuilds an index that dead entries have made too large.

It rebuilds nothing while a transaction is open that would make the rebuild wait, or whose snapshot would keep the dead entries.
"""

from __future__ import annotations

import asyncio
import logging
import secrets

import psycopg
import pytest
from psycopg import IsolationLevel, sql

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import ORDINARY, PINNED, run
from pgqueue.maintenance import indexes
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.maintenance.alerting.watch import Watch
from pgqueue.maintenance.indexes import Indexes
from pgqueue.maintenance.leader import Leader
from pgqueue.model.tally import Tally
from tests.waiting import wait_until

SMALLEST_OUTGROWN = 200_000  # an index with fewer bytes is never rebuilt
ROWS = 20_000
INDEXES = ("jobs_live_claim_idx", "jobs_live_id_key")


def size(db, index=INDEXES[0]):
    return run(db, statements.measure_index(index))


def names(db):
    rows = db.execute(
        "select c.relname from pg_class c where c.relname like 'jobs_live%' and c.relkind = 'i'"
    )
    return {row[0] for row in rows}


@pytest.fixture
def blown_up(db):
    """Returns a database in which many jobs were stored and deleted, and a few remain. So its indexes are much larger than necessary."""
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    db.execute("insert into pgqueue.jobs_live (task) select 't' from generate_series(1, %s)", [ROWS])
    db.execute("delete from pgqueue.jobs_live where id > 10")
    db.execute("select pg_stat_force_next_flush()")
    db.execute("vacuum pgqueue.jobs_live")
    assert all(size(db, index) > SMALLEST_OUTGROWN for index in INDEXES)
    return db


def keep(dsn, times=1, floor=SMALLEST_OUTGROWN):
    async def go():
        link = Link(dsn, "pgqueue upkeep", Outage(dsn), session=ORDINARY)
        upkeep = Indexes(link, floor=floor)
        try:
            return [await upkeep.keep() for _ in range(times)]
        finally:
            await link.close()

    return asyncio.run(go())


@pytest.fixture(autouse=True)
def _quick_look(monkeypatch):
    monkeypatch.setattr(indexes, "LOOK_PAUSE", 0.1)


def test_jobs_live_is_vacuumed_early_and_at_full_speed(db):
    [(options,)] = db.execute("select reloptions from pg_class where oid = 'pgqueue.jobs_live'::regclass")
    assert {"autovacuum_vacuum_scale_factor=0.01", "autovacuum_vacuum_cost_delay=0"} <= set(options)
    large = "select t.reloptions from pg_class t join pg_class c on c.reltoastrelid = t.oid where c.relname = 'jobs_live'"
    assert "autovacuum_vacuum_cost_delay=0" in db.execute(large).fetchone()[0], (
        "the TOAST table, which has the large arguments, is vacuumed at full speed, too"
    )


def test_each_call_of_keep_rebuilds_one_outgrown_index(blown_up, dsn):
    before = names(blown_up)
    assert keep(dsn, times=1) == [False], "another index is outgrown, too"
    assert (size(blown_up) < 50_000, size(blown_up, INDEXES[1]) > SMALLEST_OUTGROWN) == (True, True)
    assert keep(dsn, times=2) == [True, True]
    assert size(blown_up, INDEXES[1]) < 50_000
    assert names(blown_up) == before


def test_a_large_index_without_dead_entries_is_not_rebuilt(db, dsn):
    db.execute("insert into pgqueue.jobs_live (task) select 't' from generate_series(1, %s)", [ROWS])
    db.execute("analyze pgqueue.jobs_live")
    before = size(db)
    assert keep(dsn) == [True]
    assert size(db) == before > SMALLEST_OUTGROWN


def test_an_index_is_rebuilt_only_once_if_statistics_say_that_the_table_is_empty(db, dsn, caplog):
    caplog.set_level(logging.INFO, "pgqueue")
    db.execute("alter table pgqueue.jobs_live set (autovacuum_enabled = off)")
    db.execute("vacuum analyze pgqueue.jobs_live")
    db.execute("insert into pgqueue.jobs_live (task) select 't' from generate_series(1, %s)", [ROWS])
    db.execute("select pg_stat_force_next_flush()")
    db.execute("select pg_stat_reset()")
    keep(dsn, times=5)
    rebuilt = [caplog.text.count(f"index {index} was outgrown and is repaired") for index in INDEXES]
    # Before PostgreSQL 18, the first rebuild corrects the statistics.
    counts = db.info.server_version < 180_000
    assert rebuilt == ([1, 0] if counts else [1, 1])


@pytest.mark.parametrize("hold", ["snapshot", "enqueue"])
def test_no_index_is_rebuilt_while_a_transaction_would_make_the_rebuild_wait(
    blown_up, dsn, connect, hold, caplog
):
    caplog.set_level(logging.INFO, "pgqueue")
    holder = connect(autocommit=False)
    if hold == "snapshot":
        holder.isolation_level = IsolationLevel.REPEATABLE_READ
        holder.execute("select 1 from pgqueue.queues")
    else:
        holder.execute("insert into pgqueue.jobs (task) values ('t')")
    large = size(blown_up)
    assert keep(dsn) == [False]
    assert size(blown_up) == large
    assert f"the rebuild of {INDEXES[0]} waits for: " in caplog.text
    assert str(holder.info.backend_pid) in caplog.text or hold == "enqueue"
    holder.rollback()
    assert keep(dsn, times=2)[-1]
    assert size(blown_up) < 50_000


def test_the_invalid_index_that_an_interrupted_rebuild_has_left_is_dropped(blown_up, dsn, connect):
    before = names(blown_up)
    holder = connect(autocommit=False)
    holder.isolation_level = IsolationLevel.REPEATABLE_READ
    holder.execute("select 1 from pgqueue.queues")
    blown_up.execute("set lock_timeout = '200ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        blown_up.execute("reindex index concurrently pgqueue.jobs_live_claim_idx")
    assert {fault.fault for fault in run(blown_up, statements.check_indexes(SMALLEST_OUTGROWN))} == {
        "invalid",
        "outgrown",
    }
    holder.rollback()
    assert keep(dsn, times=3)[-1]
    assert names(blown_up) == before
    assert run(blown_up, statements.check_indexes(SMALLEST_OUTGROWN)) == []


@pytest.fixture
def worker_role(admin, dsn, db):
    """Yields the DSN of a role that has all rights that a worker needs, and owns nothing."""
    name = f"pgqueue_worker_{secrets.token_hex(4)}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login password 's3cr3t'").format(sql.Identifier(name)))
    for grant in (
        "usage on schema pgqueue", "select, insert, update, delete on all tables in schema pgqueue",
        "usage, select, update on all sequences in schema pgqueue",
    ):  # fmt: skip
        db.execute(sql.SQL("grant {} to {}").format(sql.SQL(grant), sql.Identifier(name)))
    yield psycopg.conninfo.make_conninfo(dsn, user=name, password="s3cr3t")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_worker_without_the_right_to_rebuild_logs_once_the_command_that_the_owner_must_run(
    blown_up, worker_role, caplog
):
    assert keep(worker_role, times=3) == [True] * 3
    assert caplog.text.count("let the owner run: reindex index concurrently pgqueue.jobs_live_claim_idx") == 1
    assert size(blown_up) > SMALLEST_OUTGROWN


def test_the_privilege_maintain_is_enough_from_postgresql_17_on(blown_up, worker_role):
    if blown_up.info.server_version < 170000:
        with pytest.raises(psycopg.errors.SyntaxError):
            blown_up.execute("grant maintain on pgqueue.jobs_live to public")
        return
    blown_up.execute("grant maintain on pgqueue.jobs_live to public")
    keep(worker_role, times=2)
    assert size(blown_up) < 50_000


# ------------------------------------------------------------------ upkeep and the other work of the leader


def test_upkeep_that_waits_does_not_delay_rescue(db, dsn, connect):
    """Upkeep is the leader's work on day tables and indexes. Here it waits for a lock. Meanwhile the leader rescues the job of a dead worker."""
    maker = connect(autocommit=False)
    maker.execute("lock table pgqueue.leader in share update exclusive mode")
    db.execute(
        "insert into pgqueue.workers (id, expires_at, pid, slots, host, version, executor, queues, tasks)"
        " overriding system value values (99, now(), 1, 1, 'h', '0', 'async', '{}', '{}')"
    )
    db.execute("insert into pgqueue.jobs (task, state, worker_id) values ('t', 'running', 99)")

    async def lead():
        outage = Outage(dsn)
        election, link, upkeep = (
            Link(dsn, name, outage, session=session)
            for name, session in (("claim", PINNED), ("leader", PINNED), ("upkeep", ORDINARY))
        )
        watch = Watch(Link(dsn, "watch", outage), AlertSettings(), 0.1)
        leader = Leader(
            election, link, upkeep, WorkerSettings(queues={"default": None}, heartbeat=0.1), Tally(), watch
        )
        leader.worker_id = 1
        running = asyncio.create_task(leader.run())
        try:
            waiting = "select count(*) from pg_stat_activity where application_name = 'upkeep' and datname = current_database() and wait_event_type = 'Lock'"
            await asyncio.to_thread(wait_until, lambda: db.execute(waiting).fetchone()[0])
            retrying = "select state from pgqueue.jobs_live where state = 'retrying'"
            await asyncio.to_thread(wait_until, lambda: db.execute(retrying).fetchone())
            assert db.execute(waiting).fetchone()[0], "upkeep is still waiting"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await election.close()

    asyncio.run(lead())
    gone = "select count(*) from pg_stat_activity where application_name = any('{claim,leader,upkeep,watch}') and datname = current_database()"
    wait_until(lambda: not db.execute(gone).fetchone()[0])


def test_the_leader_makes_the_day_tables_and_closes_the_connection_of_upkeep(db, dsn):
    async def lead():
        outage = Outage(dsn)
        election, link = Link(dsn, "claim", outage), Link(dsn, "leader", outage)
        leader = Leader(
            election, link, Link(dsn, "upkeep", outage, session=ORDINARY),
            WorkerSettings(queues={"default": None}, heartbeat=0.1), Tally(), Watch(Link(dsn, "watch", outage), AlertSettings(), 0.1),
        )  # fmt: skip
        leader.worker_id = 1
        running = asyncio.create_task(leader.run())
        done = "select count(*) from pgqueue.day_tables()"
        await asyncio.to_thread(wait_until, lambda: db.execute(done).fetchone()[0] == 8)
        there = "select count(*) from pg_stat_activity where application_name = 'upkeep' and datname = current_database()"
        await asyncio.to_thread(wait_until, lambda: not db.execute(there).fetchone()[0])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await election.close()

    asyncio.run(lead())
