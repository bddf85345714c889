"""Tests of what roles are allowed to do in the schema ``pgqueue``, and of which locks delay ``pgq migrate``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgqueue.database import migrate
from pgqueue.errors import LockedError, MissingPrivilegeError

# Lists the functions that PUBLIC has the right to execute.
FUNCTIONS = """
select p.oid::regprocedure::text from pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where p.pronamespace = 'pgqueue'::regnamespace and a.grantee = 0 and a.privilege_type = 'EXECUTE'
"""
USAGE = "grant usage on schema pgqueue to ROLE"


def test_public_has_no_right_to_execute_a_function(db):
    assert db.execute(FUNCTIONS).fetchall() == []


def test_the_printed_sql_gives_public_no_right_to_execute_a_function(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(migrate.upgrade_sql().encode())
        assert connection.execute(FUNCTIONS).fetchall() == []


def test_an_upgrade_revokes_the_rights_of_public_and_keeps_the_grants_to_roles(dsn, db, role):
    mine = role(
        USAGE, "grant execute on function pgqueue.why(bigint) to ROLE", "grant select on pgqueue.jobs to ROLE"
    )
    db.execute("grant execute on function pgqueue.recount_seats() to public")
    # The upgrade makes the function again, and by default PUBLIC gets the right to execute a new function.
    db.execute("drop function pgqueue.time_in_words(timestamptz)")
    migrate.upgrade(dsn)
    assert db.execute(FUNCTIONS).fetchall() == []
    with psycopg.connect(mine) as connection:
        assert connection.execute("select reason from pgqueue.why(9)").fetchone() == ("unknown",)


def test_a_role_that_has_only_usage_of_the_schema_can_execute_no_function(db, role):
    mine = role(USAGE)
    calls = ("add_partitions(1)", "drop_partitions()", "recount_seats()", "purge_jobs('jobs_done_default', 0, 1)",
             "enqueue('t')", "cancel(1)", "wake('default')")  # fmt: skip
    with psycopg.connect(mine, autocommit=True) as connection:
        for call in calls:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select pgqueue.{call}".encode())


@pytest.mark.parametrize(
    "call",
    ["add_partitions(400)", "add_partitions(-1)", "add_partitions(null)", "purge_jobs('jobs_done_default', 0, 100000)",
     "purge_jobs('jobs_done_default', -1, 1)"],
)  # fmt: skip
def test_a_function_that_runs_as_the_owner_refuses_arguments_outside_of_their_range(db, call):
    with pytest.raises(psycopg.errors.DatabaseError) as caught:
        db.execute(f"select pgqueue.{call}".encode())
    assert caught.value.sqlstate == "PQ404"


@pytest.mark.parametrize(
    "call",
    ["add_partitions(3)", "drop_partitions()", "recount_seats()", "purge_jobs('jobs_done_default', 0, 1)"],
)
def test_a_caller_that_leaves_its_transaction_open_cannot_keep_the_locks_for_long(connect, call):
    caller = connect(autocommit=False)
    caller.execute(f"select * from pgqueue.{call}".encode())
    assert caller.execute("show idle_in_transaction_session_timeout").fetchone() == ("10s",)
    caller.rollback()
    assert caller.execute("show idle_in_transaction_session_timeout").fetchone() == ("0",)


def test_every_function_that_runs_as_the_owner_has_its_own_search_path(db):
    rows = db.execute(
        "select p.proname, p.proconfig from pg_proc p where p.pronamespace = 'pgqueue'::regnamespace and p.prosecdef"
    ).fetchall()
    assert {name for name, _ in rows} >= {"add_partitions", "drop_partitions", "recount_seats", "purge_jobs"}
    for name, settings in rows:
        assert "search_path=pg_catalog, pg_temp" in settings, name


def test_the_page_about_roles_lists_every_function_that_runs_as_the_owner(db):
    page = (Path(__file__).parents[2] / "docs/rules/roles.md").read_text()
    [table] = re.findall(r"### Functions that run as the owner\n\n(.*?)\n\n", page, re.DOTALL)
    cells = " ".join(row.split("|")[1] for row in table.splitlines())
    listed = re.findall(r"`(\w+)`", cells)
    rows = db.execute(
        "select proname from pg_proc where pronamespace = 'pgqueue'::regnamespace and prosecdef"
    )
    assert sorted(listed) == sorted(name for (name,) in rows)
    assert ("- Twenty-three functions" in page) is (len(listed) == 23)


# ------------------------------------------------------------------ migrating


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a migration give up at the first lock that it does not get, instead of trying again for a minute."""
    monkeypatch.setattr(migrate, "LOCK_PATIENCE", 0.0)


def test_no_advisory_lock_delays_a_migration(dsn, role):
    with psycopg.connect(role(), autocommit=True) as connection:
        for number in (7_467_178_351, 7_467_178_352, 7_467_178_353):
            connection.execute("select pg_advisory_lock(%s)", [number])
        migrate.upgrade(dsn)


def test_no_advisory_lock_delays_add_partitions_or_sync_schedules(db, role):
    with psycopg.connect(role(), autocommit=True) as other:
        other.execute(
            "select pg_advisory_lock(7467178352), pg_advisory_lock(hashtextextended('shop', 7467178353))"
        )
        assert {what for (what,) in db.execute("select what from pgqueue.add_partitions(5)")} == {"made"}
        declared = json.dumps([{
            "name": "nightly", "task": "t", "every": 60, "tz": "UTC", "overlap": "skip", "missed": "skip", "missed_cap": 1,
            "jitter": 0, "args": {}, "options": {},
        }])  # fmt: skip
        said = db.execute(
            "select what from pgqueue.sync_schedules('shop', 'f', %s, 60)", [declared]
        ).fetchall()
        assert said[-1] == ("applied",)


def test_a_migration_that_does_not_get_a_lock_reports_the_session_that_has_it(dsn, connect, hurried):
    reader = connect(autocommit=False)
    reader.execute("lock table pgqueue.jobs in access exclusive mode")
    reported: list[str] = []
    with pytest.raises(LockedError) as caught:
        migrate.upgrade(dsn, reported.append)
    assert f"session {reader.info.backend_pid} (" in caught.value.why
    assert f"pg_terminate_backend({reader.info.backend_pid})" in caught.value.do


def test_a_migration_reports_the_session_that_has_a_lock_and_goes_on_when_the_lock_is_free(dsn, connect):
    reader = connect(autocommit=False)
    reader.execute("lock table pgqueue.schema_version in access exclusive mode")
    reported: list[str] = []

    def free(said: str) -> None:
        reported.append(said)
        reader.rollback()

    migrate.upgrade(dsn, free)
    assert len(reported) == 1
    assert f"session {reader.info.backend_pid} (" in reported[0]


def test_a_role_with_the_rights_of_a_worker_cannot_lock_the_table_that_migrations_lock(dsn, role):
    mine = role(
        USAGE,
        "grant select on all tables in schema pgqueue to ROLE",
        "grant insert, update, delete on pgqueue.jobs_live to ROLE",
    )
    with psycopg.connect(mine) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("lock table pgqueue.schema_version in share row exclusive mode")


def test_a_migration_refuses_a_schema_that_belongs_to_another_role(empty_dsn, admin, role):
    other = psycopg.conninfo.conninfo_to_dict(role())["user"]
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(f"create schema pgqueue authorization {other}".encode())
        with pytest.raises(MissingPrivilegeError, match=f"belongs to the role {other}") as caught:
            migrate.upgrade(empty_dsn)
        assert caught.value.code == "PGQ-201"
        with pytest.raises(psycopg.DatabaseError, match=f"belongs to the role {other}"):
            connection.execute(migrate.upgrade_sql().encode())
        connection.rollback()
        assert connection.execute(
            "select count(*) from pg_class where relnamespace = 'pgqueue'::regnamespace"
        ).fetchone() == (0,)
        connection.execute(f"drop owned by {other}".encode())


def test_a_role_that_is_no_superuser_can_migrate_a_schema_that_it_owns(empty_dsn, role):
    owner = psycopg.conninfo.conninfo_to_dict(role())["user"]
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(f"create schema pgqueue authorization {owner}".encode())
        mine = psycopg.conninfo.make_conninfo(empty_dsn, user=owner, password="s3cr3t")
        migrate.upgrade(mine)
        migrate.upgrade(mine)
        migrate.check_server(connection)
        connection.execute(f"drop owned by {owner} cascade".encode())


def test_pgq_migrate_reports_that_its_role_has_no_rights(empty_dsn, role, tmp_path):
    login = psycopg.conninfo.conninfo_to_dict(role())
    mine = psycopg.conninfo.make_conninfo(empty_dsn, user=login["user"], password=login["password"])
    done = subprocess.run(
        [sys.executable, "-m", "pgqueue", "migrate", "--dsn", mine],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 11
    assert done.stderr.startswith("PGQ-201 ")
    assert "Traceback" not in done.stderr
