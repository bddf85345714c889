"""Days of finished jobs that were detached, wholly or half, get the columns of later revisions, so that they can be attached again."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg import Connection, IsolationLevel

from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from tests.days_of_jobs import name_of

DAY = name_of(1)
MADE = f"""
create table pgqueue.{DAY} (like pgqueue.jobs_done including defaults including constraints);
create unique index {DAY}_id_key on pgqueue.{DAY} (id);
insert into pgqueue.{DAY} (id, task, state, finished_at)
values (7, 't', 'completed', (now() at time zone 'utc')::date::timestamp at time zone 'utc' - interval '1 hour')
"""
ATTACHED = f"""
alter table pgqueue.jobs_done attach partition pgqueue.{DAY}
for values from ((now() at time zone 'utc')::date::timestamp at time zone 'utc' - interval '1 day')
             to ((now() at time zone 'utc')::date::timestamp at time zone 'utc')
"""


def detach_half(connection: Connection[Any], dsn: str) -> None:
    """Attaches the day, and interrupts a DETACH CONCURRENTLY of it."""
    connection.execute(
        "drop table pgqueue.jobs_done_default"
    )  # a default partition forbids DETACH CONCURRENTLY
    connection.execute(ATTACHED.encode())
    with psycopg.connect(dsn) as reader:
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        reader.execute("select 1 from pgqueue.jobs_done")
        connection.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(
                f"alter table pgqueue.jobs_done detach partition pgqueue.{DAY} concurrently".encode()
            )
    connection.execute("reset lock_timeout")
    connection.execute("create table pgqueue.jobs_done_default partition of pgqueue.jobs_done default")
    connection.execute("create unique index jobs_done_default_id_key on pgqueue.jobs_done_default (id)")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("revision", ["0018", "0019"])
def test_a_day_that_was_detached_before_an_upgrade_can_be_attached_after_it(
    empty_dsn: str, revision: str, half: bool
) -> None:
    """Revision 0019 adds workflow_id, and revision 0020 adds waits_for and version."""
    command.upgrade(migrate.config(dsn=empty_dsn), revision)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(MADE.encode())
        if half:
            detach_half(connection, empty_dsn)
        migrate.upgrade(empty_dsn)
        made = run(connection, statements.add_partitions(0))
        assert (DAY, "attached") in [(day.name, day.what) for day in made]
        found = connection.execute(
            "select tableoid::regclass::text, state, workflow_id, waits_for, version from pgqueue.jobs where id = 7"
        ).fetchall()
        assert found == [(f"pgqueue.{DAY}", "completed", None, None, None)]
