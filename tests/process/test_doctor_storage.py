"""``pgq doctor`` reports what keeps vacuum from removing dead rows, and what this costs.

The causes are sessions, prepared transactions, replication slots and standbys. The doctor also reports faults of day tables, autovacuum
and indexes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection, IsolationLevel
from psycopg.pq import ExecStatus

from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from pgqueue.database.statements import decoding
from pgqueue.dev import embedded
from pgqueue.ui.cli.doctor import examine
from tests.days_of_jobs import name_of
from tests.servers import SETTINGS, create_database, directory_for_servers, drop_database
from tests.waiting import wait_until

AGE = "interval '1 minute'"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Yields the DSN of a server for this module alone.

    The shared server perhaps allows no prepared transactions and no logical replication slots.
    """
    settings = {**SETTINGS, "wal_level": "logical", "max_prepared_transactions": "5"}
    with directory_for_servers() as directory:
        postgres = embedded.start(directory / "server", settings=settings)
        try:
            yield postgres.dsn
        finally:
            postgres.stop("immediate")


@pytest.fixture
def ours(server: str) -> Iterator[str]:
    dsn = create_database(server, "doctor")
    migrate.upgrade(dsn)
    yield dsn
    drop_database(server, "doctor")


def findings(dsn: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return "\n".join(
            f"{finding.level} {finding.what} do: {finding.do}" for finding in examine(connection, dsn)
        )


def wait_for_finding(dsn: str, words: str) -> str:
    """Waits until the findings contain these words, and returns all findings."""
    return wait_until(lambda: text if words in (text := findings(dsn)) else "")


def grow_old(db: Connection[Any]) -> None:
    """Uses up 10,000 transaction ids, so that snapshots and replication slots become old."""
    db.execute("create temp table if not exists passed (n int)")
    db.execute(
        "do $$ begin for n in 1..10010 loop begin insert into passed values (n); exception when others then null; end;"
        " end loop; end $$"
    )


def shorten_the_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the doctor report a snapshot that is a tenth of a second old, instead of a minute, so that no test has to wait for a minute."""
    from pgqueue import sql

    text = sql.load("find_old_snapshots")
    assert AGE in text
    short = text.replace(AGE, "interval '0.1 s'")
    load = sql.load
    monkeypatch.setattr(decoding, "load", lambda name: short if name == "find_old_snapshots" else load(name))


def test_doctor_reports_the_session_with_the_oldest_snapshot_and_what_this_snapshot_costs(
    dsn, connect, monkeypatch
):
    shorten_the_age(monkeypatch)
    holder = connect(autocommit=False)
    holder.isolation_level = IsolationLevel.REPEATABLE_READ
    holder.execute("set application_name = 'report'")
    holder.execute("select 'first words of a query that is much longer than sixty\n characters, s3cr3t'")
    db = connect()
    db.execute("insert into pgqueue.jobs_live (task) select 't' from generate_series(1, 30000)")
    db.execute("delete from pgqueue.jobs_live where id > 1000")
    db.execute("select pg_stat_force_next_flush()")
    db.execute("vacuum pgqueue.jobs_live")
    [line] = [line for line in wait_for_finding(dsn, "Session").splitlines() if "Session" in line]
    assert (
        f"Session {holder.info.backend_pid} (postgres, report, idle in transaction) has held a snapshot for"
        in line
    )
    assert (
        "last query: select 'first words of a query that is much longer than sixt do: end its transaction"
        in line
    )
    assert f"pg_terminate_backend({holder.info.backend_pid})" in line
    assert "s3cr3t" not in line
    cost = findings(dsn)
    assert (
        "cannot remove the dead rows of jobs_live, about 29,000 beside 1,000 live rows. The table takes"
        in cost
    )
    assert "claim from the beginning of a lane takes about 29 ms." in cost
    db.execute("select pg_terminate_backend(%s)", [holder.info.backend_pid])
    holder.close()
    wait_until(lambda: "has held a snapshot" not in findings(dsn))
    assert "cannot remove" not in findings(dsn)


def test_doctor_reports_an_old_prepared_transaction(ours, monkeypatch):
    shorten_the_age(monkeypatch)
    with psycopg.connect(ours, autocommit=True) as connection:
        connection.execute("begin")
        connection.execute("insert into pgqueue.queues (name) values ('q')")
        connection.execute("prepare transaction 'forgotten'")
        found = wait_for_finding(ours, "forgotten")
        assert "Prepared transaction 'forgotten' of postgres has been open" in found
        assert "rollback prepared 'forgotten'" in found
        assert "cannot remove the dead rows" in found
        connection.execute("rollback prepared 'forgotten'")
        assert "forgotten" not in findings(ours)


def test_doctor_reports_a_replication_slot_that_no_client_reads(ours):
    with psycopg.connect(ours, autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot('unread', 'pgoutput')")
        try:
            assert "unread" not in findings(ours), "a young slot is not reported"
            grow_old(connection)
            found = findings(ours)
            assert (
                "Replication slot 'unread' (not in use) has kept dead rows of the system catalogs for 10,0"
                in found
            )
            assert "pg_drop_replication_slot('unread')" in found
            assert "cannot remove the dead rows" not in found
        finally:
            connection.execute("select pg_drop_replication_slot('unread')")


@pytest.mark.parametrize("slot", ["", "standby1"])
def test_doctor_reports_a_standby_with_an_old_snapshot_and_the_replication_slot_of_the_standby(ours, slot):
    """The test acts as a standby: it starts replication, and sends the message that a standby with hot_standby_feedback sends."""
    with psycopg.connect(ours, autocommit=True) as connection:
        if slot:
            connection.execute("select pg_create_physical_replication_slot(%s)", [slot])
        [(xid,)] = connection.execute("select pg_current_xact_id()::text::bigint")
        standby = psycopg.pq.PGconn.connect(f"{ours}&replication=true&application_name=far".encode())
        assert standby.status == psycopg.pq.ConnStatus.OK, standby.error_message
        [(lsn,)] = connection.execute("select pg_current_wal_flush_lsn()::text")
        begin = f"START_REPLICATION {'SLOT ' + slot if slot else ''} PHYSICAL {lsn}"
        began = standby.exec_(begin.encode())
        assert began.status == ExecStatus.COPY_BOTH, began.error_message
        standby.put_copy_data(b"h" + struct.pack("!qIIII", 0, xid, 0, 0, 0))
        standby.flush()
        grow_old(connection)
        expected = (
            f"Replication slot '{slot}' (in use) has kept dead rows for" if slot else "Standby far (walsender"
        )
        found = wait_for_finding(ours, expected)
        assert "cannot remove the dead rows" in found
        standby.finish()
        if slot:
            assert f"Replication slot '{slot}'" in findings(ours), (
                "the slot keeps the rows after the standby has gone"
            )
            drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where active_pid is null"
            wait_until(lambda: connection.execute(drop).rowcount)
        wait_until(lambda: "cannot remove" not in findings(ours))


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ("alter table pgqueue.jobs_live set (autovacuum_enabled = off)", "error Autovacuum is off"),
        (f"drop table pgqueue.{name_of(-1)}", f"warn Partition {name_of(-1)} is missing"),
        (f"alter table pgqueue.jobs_done detach partition pgqueue.{name_of(0)}", f"warn Partition {name_of(0)} (0.0 MB) is detached"),
        ("insert into pgqueue.jobs (task, state, finished_at) values ('t', 'completed', '2020-01-01')", "warn Partition jobs_done_default holds rows (0.0 MB)"),
    ],
)  # fmt: skip
def test_doctor_reports_faults_of_day_tables_and_autovacuum(dsn, db, mistake, expected):
    run(db, statements.add_partitions(3))
    assert "Partition" not in (before := findings(dsn))
    assert "Autovacuum" not in before
    db.execute(mistake.encode())
    assert expected in findings(dsn)


def test_doctor_reports_bloated_and_invalid_indexes_with_a_statement_that_repairs_them(
    dsn, db, connect, monkeypatch
):
    from pgqueue.maintenance import indexes

    monkeypatch.setattr(indexes, "SMALLEST_OUTGROWN", 200_000)
    db.execute("alter table pgqueue.jobs_live set (autovacuum_vacuum_threshold = 1000000000)")
    db.execute("insert into pgqueue.jobs_live (task) select 't' from generate_series(1, 20000)")
    db.execute("delete from pgqueue.jobs_live where id > 10")
    db.execute("select pg_stat_force_next_flush()")
    db.execute("vacuum pgqueue.jobs_live")
    holder = connect(autocommit=False)
    holder.execute("lock table pgqueue.jobs_live in row exclusive mode")
    db.execute("set lock_timeout = '100ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        db.execute("reindex index concurrently pgqueue.jobs_live_claim_idx")
    found = findings(dsn)
    assert "warn Index jobs_live_claim_idx has outgrown its rows:" in found
    assert "or: reindex index concurrently pgqueue.jobs_live_claim_idx" in found
    assert "Index jobs_live_claim_idx_ccnew is invalid" in found
    assert "or: drop index concurrently if exists pgqueue.jobs_live_claim_idx_ccnew" in found
