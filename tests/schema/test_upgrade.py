"""A database of a former revision, with jobs in every state and with day tables, is upgraded to the newest revision and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg import Connection

from pgqueue import App, PgQueueError
from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from pgqueue.errors import SchemaNotUpgradedError
from tests.schema.test_drift import shape
from tests.waiting import wait_until

# Makes two functions with the same types as in the first revision, but with bodies that do nothing. Also makes day tables, with the statements
# that the real functions executed.
FIRST = """
create function pgqueue.add_partitions(ahead integer default 3) returns setof text language sql
    as 'select null::text where false';
create function pgqueue.drop_partitions() returns setof text language sql as 'select null::text where false';
create table pgqueue.jobs_done_20250101 (like pgqueue.jobs_done including defaults including constraints);
create unique index jobs_done_20250101_id_key on pgqueue.jobs_done_20250101 (id);
alter table pgqueue.jobs_done attach partition pgqueue.jobs_done_20250101 for values from ('2025-01-01 00:00+00') to ('2025-01-02 00:00+00');
create table pgqueue.jobs_done_20250102 (like pgqueue.jobs_done including defaults including constraints);
create unique index jobs_done_20250102_id_key on pgqueue.jobs_done_20250102 (id)
"""
JOBS = """
insert into pgqueue.jobs (state, queue, task, args, worker_id, finished_at, unique_key, tags, timeout)
select state, 'mail', 'send', jsonb_build_object('n', n), case when state = 'running' then 7 end,
       case when state in ('completed', 'cancelled', 'dead') then '2025-01-01 12:00+00'::timestamptz end,
       case when state in ('pending', 'dead') then 'key ' || n end, array['a', 'b'], interval '5 s'
from unnest(array['pending', 'running', 'retrying', 'waiting', 'completed', 'cancelled', 'dead']) state,
     generate_series(1, 3) n
"""
ROWS = "select id, state, queue, task, args, worker_id, finished_at, unique_key, tags, timeout, run_at from pgqueue.jobs"

FILES = "select relname, relfilenode from pg_class where relname ~ '^jobs_(live|dead|done_)' and relkind = 'r' order by relname"


@pytest.fixture
def former(empty_dsn: str) -> Iterator[Connection[Any]]:
    command.upgrade(migrate.config(dsn=empty_dsn), "0001")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(FIRST.encode())
        connection.execute(JOBS.encode())
        yield connection


def test_a_database_of_the_first_revision_is_upgraded_and_keeps_its_jobs(
    former: Connection[Any], db: Connection[Any]
) -> None:
    before = former.execute(f"{ROWS} order by id".encode()).fetchall()
    files = former.execute(FILES).fetchall()
    with pytest.raises(Exception, match="pgq migrate"):
        migrate.check_server(former)
    migrate.upgrade(former.info.dsn)
    migrate.check_server(former)
    assert former.execute(f"{ROWS} order by id".encode()).fetchall() == before
    assert shape(former) == shape(db)
    assert migrate.differences(former) == []
    assert former.execute(FILES).fetchall() == files, "no row was rewritten"
    checks = former.execute("select conname from pg_constraint where conrelid::regclass::text ~ 'jobs_done'")
    assert [name for (name,) in checks if name.endswith("_check")] == []


def test_a_database_of_the_first_revision_with_the_shape_of_the_second_revision_is_upgraded(
    former: Connection[Any], db: Connection[Any]
) -> None:
    """For some time, the first revision itself made everything that only the second revision makes now."""
    command.upgrade(migrate.config(dsn=former.info.dsn), "0002")
    before = former.execute(f"{ROWS} order by id".encode()).fetchall()
    former.execute("update pgqueue.schema_version set version_num = '0001'")
    migrate.upgrade(former.info.dsn)
    migrate.check_server(former)
    assert shape(former) == shape(db)
    assert migrate.differences(former) == []
    assert former.execute(f"{ROWS} order by id".encode()).fetchall() == before


def test_an_upgraded_database_accepts_new_jobs_and_new_day_tables_and_refuses_bad_rows(
    former: Connection[Any],
) -> None:
    migrate.upgrade(former.info.dsn)
    app = App(former.info.dsn)

    @app.task(name="send")
    def send(n: int) -> None: ...

    assert send.enqueue(n=1).state == "pending"
    app.close()
    with pytest.raises(psycopg.errors.CheckViolation):
        former.execute("insert into pgqueue.jobs (task, queue) values ('send', 'no queue')")
    made = run(former, statements.add_partitions(3))
    assert [day.what for day in made if day.name.startswith("jobs_done")]
    found = former.execute(
        "select count(*) from pgqueue.jobs_done where finished_at < '2026-01-01'"
    ).fetchone()
    assert found == (6,)


# Values that the checks of the tenth revision accepted, and that later checks refuse.
ODD = """
insert into pgqueue.jobs (task, args) select 'send', jsonb_build_object('v', jsonb_agg('1e131071'::numeric)) from generate_series(1, 9000);
insert into pgqueue.jobs (task, attempt) values ('send', 32767);
insert into pgqueue.jobs (task, attempt, crash_count) values ('send', -5, 32767);
insert into pgqueue.jobs (task, lease_id) values ('send', 9223372036854775807);
insert into pgqueue.jobs (task, trace_context, progress) select 'send', j, j
from (select jsonb_agg('1e131071'::numeric) as j from generate_series(1, 500)) t;
insert into pgqueue.jobs (id, task, state, finished_at) values (-1, 'send', 'dead', 'infinity');
update pgqueue.queues set retention = '200000 years'
"""


def test_an_upgrade_does_not_change_rows_that_newer_checks_would_refuse(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0010")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(ODD.encode())
        rows = "select id, state, pg_column_size(args), attempt, crash_count, lease_id, finished_at::text from pgqueue.jobs order by id"
        before = connection.execute(rows.encode()).fetchall()
        files = connection.execute(FILES).fetchall()
        migrate.upgrade(empty_dsn)
        migrate.check_server(connection)
        assert connection.execute(rows.encode()).fetchall() == before
        assert connection.execute(FILES).fetchall() == files, "no row was rewritten"
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("insert into pgqueue.jobs (task, attempt) values ('send', 32767)")
        run(connection, statements.purge(10))
        assert len(run(connection, statements.list_jobs())) == len(before)


def test_an_upgrade_reports_a_users_view_of_a_column_whose_type_changes(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0010")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("create view tried as select id, attempt from pgqueue.jobs")
        connection.execute("create view named as select id, task, state from pgqueue.jobs")
        with pytest.raises(PgQueueError, match=r"the view public\.tried uses a column"):
            migrate.upgrade(empty_dsn)
        connection.execute("drop view tried")
        migrate.upgrade(empty_dsn)
        assert connection.execute("select count(*) from named").fetchone() == (0,)


def test_an_upgrade_replaces_the_path_of_an_app_by_its_name_in_schedules(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0010")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into pgqueue.schedules (name, task, cron, source, app) values"
            " ('a', 't', '0 0 * * *', 'code', 'shop:app'), ('b', 't', '0 0 * * *', 'code', 'mail'),"
            " ('c', 't', '0 0 * * *', 'sql', null)"
        )
        connection.execute(
            "insert into pgqueue.schedule_sets (app, fingerprint, since, expires_at) values"
            " ('shop:app', 'f', now() - interval '1 h', now() + interval '1 h'), ('shop', 'f', now(), now()), ('mail', 'g', now(), now())"
        )
        migrate.upgrade(empty_dsn)
        apps = connection.execute("select name, app from pgqueue.schedules order by name").fetchall()
        assert apps == [("a", "shop"), ("b", "mail"), ("c", None)]
        sets = connection.execute(
            "select app, fingerprint, expires_at > now() from pgqueue.schedule_sets order by app"
        ).fetchall()
        assert sets == [("mail", "g", False), ("shop", "f", True)]


# Stores rows with a value in each column that a later revision renames. One row is in a day table that is not a partition yet.
NAMED_ANEW = """
insert into pgqueue.jobs_live (task, state, worker_id, holds, ours) values ('t:on_dead', 'running', 7, '{1,2}', true), ('t', 'pending', null, null, null);
insert into pgqueue.jobs_dead (task, state, finished_at, ours) values ('t:on_dead', 'dead', now(), true);
insert into pgqueue.jobs_done (task, state, finished_at, ours) values ('t:on_dead', 'completed', '2025-01-01', true);
create table pgqueue.jobs_done_20250102 (like pgqueue.jobs_done including defaults including constraints);
insert into pgqueue.jobs_done_20250102 (task, state, finished_at, ours) values ('t:on_dead', 'completed', '2025-01-02', true);
insert into pgqueue.limits (queue, rate, period) values ('mail', 1, '1 s');
insert into pgqueue.seats (limit_id, key, arrival) values (1, '', '2030-01-01 00:00+00');
insert into pgqueue.schedules (name, task, cron, source, app, declared) values ('a', 't', '0 0 * * *', 'code', 'shop', 'd1');
insert into pgqueue.tasks (name, app, declared, former) values ('t', 'shop', 'd2', '{d3,d4}')
"""
VALUES = """
select 'job', task, {seats_taken}::text, {stored_by_pgqueue}::text from pgqueue.jobs
union all select 'day', task, {seats_taken}::text, {stored_by_pgqueue}::text from pgqueue.jobs_done_20250102
union all select 'seat', key, {full_at}::text, null from pgqueue.seats
union all select 'schedule', name, {digest}, null from pgqueue.schedules
union all select 'task', name, {digest}, {former_digests}::text from pgqueue.tasks
order by 1, 2, 3, 4
"""
NEW_NAMES = {"seats_taken": "holds", "stored_by_pgqueue": "ours", "full_at": "arrival", "digest": "declared", "former_digests": "former"}  # fmt: skip


def test_columns_are_renamed_without_rewriting_their_rows(empty_dsn: str, db: Connection[Any]) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0016")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(NAMED_ANEW.encode())
        before = connection.execute(VALUES.format_map(NEW_NAMES).encode()).fetchall()
        files = connection.execute(FILES).fetchall()
        migrate.upgrade(empty_dsn)
        after = connection.execute(VALUES.format_map({name: name for name in NEW_NAMES}).encode()).fetchall()
        assert len(after) == 8
        assert after == before
        assert connection.execute(FILES).fetchall() == files, "no row was rewritten"
        assert migrate.differences(connection) == []
        connection.execute("drop table pgqueue.jobs_done_20250102")
        assert shape(connection) == shape(db)
        # The trigger on this table writes a renamed column.
        connection.execute("update pgqueue.limits set rate = 2")
        assert connection.execute("select full_at from pgqueue.seats").fetchall() == [(None,)]


def test_no_column_is_renamed_while_a_worker_of_the_former_version_lives(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0016")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)"
            " values (7, 'web-1', 42, '0', 'async', 1, '{default}', '{}', 'running', now() + interval '1 minute')"
        )
        with pytest.raises(PgQueueError, match="PGQ-205") as refused:
            migrate.upgrade(empty_dsn)
        ends = connection.execute("select expires_at from pgqueue.workers").fetchone()
        assert ends is not None
        assert (
            refused.value.why == f"worker 7 (process 42 on web-1), leased until {ends[0]:%Y-%m-%d %H:%M:%S%z}"
        )
        assert "if a worker was killed, wait until its lease ends" in refused.value.do
        assert "pgq workers" not in refused.value.do, "of an older schema, this command lists no workers"
        assert connection.execute("select version_num from pgqueue.schema_version").fetchone() == ("0016",)
        connection.execute("update pgqueue.workers set expires_at = now() - interval '1 second'")
        migrate.upgrade(empty_dsn)
        assert migrate.differences(connection) == []


EVENT_TRIGGER = """
create function public.forbid() returns event_trigger language plpgsql as $$begin raise exception 'no changes here'; end$$;
create event trigger forbid on ddl_command_start when tag in ('ALTER TABLE') execute function public.forbid()
"""


@pytest.mark.parametrize(
    ("revision", "made", "unmade", "why", "do"),
    [
        ("0016", "alter table pgqueue.tasks add column digest text", "alter table pgqueue.tasks drop column digest",
         '42701.*column "digest" of relation "tasks" already exists', "rename or drop the object"),
        ("head", "drop function pgqueue.make_dead; create function pgqueue.make_dead(bigint, bigint, text) returns int language sql as 'select 1'",
         "drop function pgqueue.make_dead", "42P13.*make_dead", "rename or drop the object"),
        ("0016", EVENT_TRIGGER, "drop event trigger forbid", r"P0001.*no changes here; PL/pgSQL function public\.forbid\(\)", "remove the cause"),
        ("0016", "delete from pgqueue.schema_version", "insert into pgqueue.schema_version values ('0016')",
         "PQ005.*schema_version has 0 rows", "leave only the row"),
        ("0016", "insert into pgqueue.schema_version values ('0015')", "delete from pgqueue.schema_version where version_num = '0015'",
         "PQ005.*schema_version has 2 rows.*; 0015, 0016", "leave only the row"),
        ("0016", "update pgqueue.schema_version set version_num = '0016x'", "update pgqueue.schema_version set version_num = '0016'",
         "0016x", "pgq doctor"),
        ("head", "alter table pgqueue.schedules rename to others", "alter table pgqueue.others rename to schedules",
         r"42P01.*pgqueue\.schedules", "remove the cause"),
    ],
)  # fmt: skip
def test_an_upgrade_that_the_server_refuses_says_what_is_in_the_way_and_can_be_repeated(
    empty_dsn: str, revision: str, made: str, unmade: str, why: str, do: str
) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), revision)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(made.encode())
        with pytest.raises(SchemaNotUpgradedError, match=f"(?s)PGQ-209.*{why}") as refused:
            migrate.upgrade(empty_dsn)
        assert do in refused.value.do
        assert "\n" not in str(refused.value)
        assert "$do$" not in str(refused.value)
        connection.execute(unmade.encode())
        migrate.upgrade(empty_dsn)
        assert migrate.differences(connection) == []


def test_no_worker_of_a_former_version_can_register_while_an_upgrade_that_refuses_workers_runs(
    empty_dsn: str,
) -> None:
    """Another transaction holds up the upgrade, after the upgrade has looked for workers."""
    command.upgrade(migrate.config(dsn=empty_dsn), "0016")
    with (
        psycopg.connect(empty_dsn, autocommit=True) as worker,
        psycopg.connect(empty_dsn) as reader,
        ThreadPoolExecutor(1) as threads,
    ):
        reader.execute("select from pgqueue.jobs")
        upgrade = threads.submit(migrate.upgrade, empty_dsn)
        waits = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'"
        wait_until(lambda: worker.execute(waits).fetchone() == (1,))
        worker.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            worker.execute(
                "insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)"
                " values (7, 'web-1', 42, '0', 'async', 1, '{default}', '{}', 'running', now() + interval '1 minute')"
            )
        reader.rollback()
        upgrade.result(timeout=60)


def test_an_upgrade_that_many_workers_prevent_lists_some_of_them(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0016")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, state, expires_at)"
            " select n, 'web-1', n, '0', 'async', 1, '{default}', '{}', case when n = 8 then 'stopped' else 'draining' end,"
            " now() + interval '1 minute' from generate_series(1, 8) n"
        )
    with pytest.raises(PgQueueError) as refused:
        migrate.upgrade(empty_dsn)
    assert refused.value.why.startswith("worker 1 (process 1 on web-1), ")
    assert refused.value.why.endswith("; and 2 other workers")


def test_a_renamed_function_keeps_the_grants_to_roles(empty_dsn: str) -> None:
    """A role that is only allowed to enqueue must be able to execute this function. It got this right under the function's former name."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        migrate.upgrade(empty_dsn)
        connection.execute("update pgqueue.schema_version set version_num = '0016'")
        connection.execute("alter function pgqueue.option_time rename to moment")
        connection.execute("create role granted_before")
        try:
            connection.execute("grant execute on function pgqueue.moment to granted_before")
            migrate.upgrade(empty_dsn)
            assert migrate.differences(connection) == []
            may = "has_function_privilege('granted_before', 'pgqueue.option_time(jsonb, timestamptz)', 'execute')"
            assert connection.execute(f"select {may}, to_regproc('pgqueue.moment')".encode()).fetchone() == (
                True,
                None,
            )
        finally:
            connection.execute("drop owned by granted_before")
            connection.execute("drop role granted_before")


FORMER_FIELDS = """
create function pgqueue.rare_fields(expires_at timestamptz, deadline_at timestamptz, progress jsonb, unique_key text, tags text[], meta jsonb,
    stored_by_pgqueue boolean, workflow_id bigint)
returns text language sql as $$ select '{}' $$;
insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, tasks, expires_at)
values (5, 'web-1', 1, '0', 'async', 1, '{default}', '{t}', now() + interval '1 minute')
"""


# What a leader of the former revision calls.
FORMER_FINISH = """
create function pgqueue.finish_workflow(after bigint) returns bigint language sql as $$ select 7 $$;
create function pgqueue.cancel_nodes(workflow bigint, stop_reason text, at_most integer, out chosen integer, out left_open integer)
language sql as $$ select 1, 1 $$;
insert into pgqueue.unresolved (node_id) values (3)
"""


def test_a_leader_of_the_twenty_second_revision_goes_on_beside_the_upgraded_schema(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0022")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(FORMER_FINISH.encode())
        migrate.upgrade(empty_dsn)
        assert migrate.differences(connection) == []
        assert connection.execute("select pgqueue.finish_workflow(0)").fetchone() == (7,)
        assert connection.execute("select chosen from pgqueue.cancel_nodes(1, 'no', null)").fetchone() == (1,)
        assert connection.execute("select node_id, error from pgqueue.unresolved").fetchall() == [(3, None)]
        assert run(connection, statements.finish_workflow(0, 0, 1)).workflow_id is None


def test_a_worker_of_the_nineteenth_revision_goes_on_beside_the_upgraded_schema(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0019")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(FORMER_FIELDS.encode())
        migrate.upgrade(empty_dsn)
        assert migrate.differences(connection) == []
        fields = connection.execute(
            "select pgqueue.rare_fields(null, null, null, null, '{}', '{}', null, 7)"
        ).fetchone()
        assert fields == ("{}",)
        assert connection.execute("select app_version, accepts from pgqueue.workers").fetchall() == [
            (None, [])
        ]
        connection.execute("insert into pgqueue.jobs (task) values ('t')")
        assert len(run(connection, statements.claim_limited(5, ["t"], ("default", 0), None, 1)).rows) == 1
        connection.execute("insert into pgqueue.jobs (task, version) values ('t', 3)")
        assert run(connection, statements.claim_limited(5, ["t"], ("default", 0), None, 1)).rows == []
