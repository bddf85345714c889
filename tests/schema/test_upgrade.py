"""A database of a former revision, with jobs in every state and days of its own, becomes today's and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg import Connection

from pgqueue import App, migrate, statements
from pgqueue.database import run
from tests.schema.test_drift import shape

# What the first revision left to functions of its time: their types, and the days they made.
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
    command.upgrade(migrate._config(dsn=empty_dsn), "0001")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(FIRST.encode())
        connection.execute(JOBS.encode())
        yield connection


def test_a_database_of_the_first_revision_becomes_todays(
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
    assert former.execute(FILES).fetchall() == files, "rows were written anew"
    checks = former.execute("select conname from pg_constraint where conrelid::regclass::text ~ 'jobs_done'")
    assert [name for (name,) in checks if name.endswith("_check")] == []


def test_a_first_revision_that_had_all_of_the_second_becomes_todays(
    former: Connection[Any], db: Connection[Any]
) -> None:
    """For a time the first revision made the shape of the second itself."""
    command.upgrade(migrate._config(dsn=former.info.dsn), "0002")
    before = former.execute(f"{ROWS} order by id".encode()).fetchall()
    former.execute("update pgqueue.schema_version set version_num = '0001'")
    migrate.upgrade(former.info.dsn)
    migrate.check_server(former)
    assert shape(former) == shape(db)
    assert migrate.differences(former) == []
    assert former.execute(f"{ROWS} order by id".encode()).fetchall() == before


def test_an_upgraded_database_enqueues_refuses_and_makes_days(former: Connection[Any]) -> None:
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
