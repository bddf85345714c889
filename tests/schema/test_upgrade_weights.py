"""The weight of a job becomes a larger integer: without rewriting a table, with all values, and with the rights of roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from psycopg import Connection

from pgqueue import PgQueueError
from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from tests.days_of_jobs import name_of
from tests.schema.test_drift import shape
from tests.schema.test_upgrade import FILES

DAY = name_of(1)
LARGEST = 1_000_000_000
ROLE = f"writer_{uuid4().hex[:8]}"  # the tests of other processes use the same server
BEFORE = f"""
create function pgqueue.job_items(jobs jsonb, left_out boolean[], moment timestamptz)
returns table (item integer, task pgqueue.task_name, args jsonb, queue pgqueue.queue_name, priority smallint, run_at timestamptz,
    max_attempts pgqueue.attempts, timeout interval, concurrency_key pgqueue.job_key, weight pgqueue.job_weight,
    ordering pgqueue.job_order, tags pgqueue.job_tags, meta pgqueue.job_meta, trace_context jsonb,
    expires_at timestamptz, deadline_at timestamptz, unique_key text, held_key text,
    on_conflict text, throttle float8, debounce float8, debounce_max float8, idempotency_key text, idempotency_ttl float8)
language plpgsql as 'begin end';
revoke all on function pgqueue.job_items from public;
grant usage on schema pgqueue to {ROLE};
grant execute on function pgqueue.job_items to {ROLE};
grant insert (id, task, weight), select (weight) on pgqueue.jobs_live to {ROLE};
grant insert (weight), update (weight) on pgqueue.jobs to {ROLE} with grant option;
create table pgqueue.{DAY} (like pgqueue.jobs_done including defaults including constraints);
create unique index {DAY}_id_key on pgqueue.{DAY} (id);
grant select (weight) on pgqueue.{DAY} to public;
insert into pgqueue.{DAY} (id, task, state, finished_at, weight)
select n, 't', 'completed', (now() at time zone 'utc')::date::timestamp at time zone 'utc' - interval '1 hour', nullif(n, 99)
from generate_series(98, 99) n;
insert into pgqueue.jobs_live (task, weight, state, worker_id, seats_taken)
select 't', nullif(n, 3) * 10, case n when 1 then 'running' else 'pending' end, case n when 1 then 7 end, case n when 1 then '{{1,10}}'::int[] end
from generate_series(1, 3) n;
insert into pgqueue.jobs (task, weight, state, finished_at) select 't', 1000, state, now() from unnest(array['dead', 'completed']) state;
insert into pgqueue.limits (queue, concurrency) values ('a', 2147483647), ('b', 5);
insert into pgqueue.limits (queue, rate, period, burst) values ('c', 2000000000, '1 hour', 2000000000);
insert into pgqueue.seats (limit_id, key, taken) values (1, '', 10)
"""
ROWS = (
    "select tableoid::regclass::text, id, state, weight::integer, seats_taken from pgqueue.jobs order by 1, 2"
)
RIGHTS = f"""
select a.attrelid::regclass::text, e.grantee = 0, e.privilege_type, e.is_grantable
from pg_attribute a cross join lateral aclexplode(a.attacl) e
where a.attname = 'weight' and (e.grantee = 0 or e.grantee = '{ROLE}'::regrole) order by 1, 2, 3
"""


@pytest.fixture
def before(empty_dsn: str) -> Iterator[Connection[Any]]:
    command.upgrade(migrate.config(dsn=empty_dsn), "0020")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(f"create role {ROLE}".encode())
        try:
            connection.execute(BEFORE.encode())
            yield connection
        finally:
            connection.execute(f"drop owned by {ROLE}".encode())
            connection.execute(f"drop role {ROLE}".encode())


def test_weights_keep_their_values_and_no_table_is_rewritten(
    before: Connection[Any], db: Connection[Any]
) -> None:
    rows, files = before.execute(ROWS).fetchall(), before.execute(FILES).fetchall()
    migrate.upgrade(before.info.dsn)
    assert before.execute(ROWS).fetchall() == rows
    assert before.execute(FILES).fetchall() == files, "no table was rewritten"
    assert migrate.differences(before) == []
    assert shape(before) == shape(db)
    assert before.execute(
        "select queue, concurrency, rate, burst from pgqueue.limits order by id"
    ).fetchall() == [
        ("a", LARGEST, None, None),
        ("b", 5, None, None),
        ("c", None, LARGEST, LARGEST),
    ]
    before.execute("insert into pgqueue.jobs (task, weight) values ('t', 1000000000)")
    for wrong in (0, -1, LARGEST + 1):
        with pytest.raises(psycopg.errors.CheckViolation):
            before.execute("insert into pgqueue.jobs (task, weight) values ('t', %s)", [wrong])


def test_a_day_that_was_detached_gets_the_larger_weight_and_can_be_attached(before: Connection[Any]) -> None:
    migrate.upgrade(before.info.dsn)
    made = run(before, statements.add_partitions(0))
    assert (DAY, "attached") in [(day.name, day.what) for day in made]
    found = before.execute("select id, weight from pgqueue.jobs where id in (98, 99) order by id").fetchall()
    assert found == [(98, 98), (99, None)]


def test_roles_keep_their_rights_on_the_column_and_on_the_function(before: Connection[Any]) -> None:
    rights = before.execute(RIGHTS).fetchall()
    assert len(rights) == 5
    migrate.upgrade(before.info.dsn)
    assert before.execute(RIGHTS).fetchall() == rights
    may = f"select has_function_privilege('{ROLE}', 'pgqueue.job_items(jsonb, boolean[], timestamptz)', 'execute')"
    assert before.execute(may.encode()).fetchone() == (True,)
    acl = before.execute("select proacl::text from pg_proc where proname = 'job_items'").fetchone()
    assert acl is not None
    assert "{=X" not in acl[0]
    assert ",=X" not in acl[0]
    with before.transaction():
        before.execute(f"set local role {ROLE}".encode())
        before.execute("insert into pgqueue.jobs_live (id, task, weight) values (1000, 't', 70000)")


def test_a_session_that_prepared_its_statements_before_the_upgrade_goes_on(
    before: Connection[Any], empty_dsn: str
) -> None:
    """A worker of the revision before moves rows by the names of their columns."""
    move = (
        "with gone as (delete from pgqueue.jobs_live where id = $1 returning *)"
        " insert into pgqueue.jobs_done (id, task, weight, state, finished_at)"
        " select id, task, weight, 'completed', now() from gone"
    )
    with psycopg.connect(empty_dsn, autocommit=True) as worker:
        worker.execute(f"prepare move (bigint) as {move}".encode())
        worker.execute(
            "prepare made (smallint) as insert into pgqueue.jobs_live (task, weight) values ('t', $1)"
        )
        worker.execute("execute move (2)")
        worker.execute("execute made (7)")
        migrate.upgrade(empty_dsn)
        worker.execute("execute move (1)")
        worker.execute("execute made (7)")
        moved = worker.execute(
            "select weight from pgqueue.jobs_done where id in (1, 2) order by id"
        ).fetchall()
        assert moved == [(10,), (20,)]


def test_a_users_view_of_the_weight_is_named_by_the_error(before: Connection[Any]) -> None:
    before.execute("create view heavy as select id, weight from pgqueue.jobs")
    with pytest.raises(PgQueueError, match="heavy"):
        migrate.upgrade(before.info.dsn)
    assert before.execute("select version_num from pgqueue.schema_version").fetchone() == ("0020",)
    before.execute("drop view heavy")
    migrate.upgrade(before.info.dsn)
