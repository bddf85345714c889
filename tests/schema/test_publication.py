"""In a database that publishes all tables, every statement that writes succeeds.

PostgreSQL refuses to update or delete rows of a published table without a replica identity, so each table has one.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.progress import Progress
from pgqueue.worker.worker import Worker
from tests.schema.test_plans import SAMPLES
from tests.worker_by_hand import Hand

# Lists the tables that have no replica identity.
BARE = """
select c.relname from pg_class c
where c.relnamespace = 'pgqueue'::regnamespace and c.relkind = 'r' and c.relname <> 'schema_version'
  and (c.relreplident = 'n' or (c.relreplident = 'd' and not exists (
      select from pg_index i where i.indrelid = c.oid and i.indisprimary)))
"""
PUBLISH = "create publication everything for all tables"


@pytest.fixture
def published(db: Connection[Any]) -> Connection[Any]:
    run(db, statements.add_partitions(3))
    db.execute(PUBLISH)
    return db


def test_every_table_including_day_tables_has_a_replica_identity(
    published: Connection[Any],
) -> None:
    assert published.execute(BARE).fetchall() == []
    days = published.execute(
        "select count(*) from pg_class c where c.relnamespace = 'pgqueue'::regnamespace and c.relname ~ '_[0-9]{8}$'"
        " and c.relkind = 'r'"
    ).fetchone()
    assert days == (8,)


def test_tables_of_a_former_revision_get_a_replica_identity(empty_dsn: str) -> None:
    command.upgrade(migrate.config(dsn=empty_dsn), "0010")
    with psycopg.connect(empty_dsn, autocommit=True) as old:
        old.execute(
            "create table pgqueue.jobs_done_20250101 (like pgqueue.jobs_done including defaults including constraints)"
        )
        old.execute("create unique index jobs_done_20250101_id_key on pgqueue.jobs_done_20250101 (id)")
        migrate.upgrade(empty_dsn)
        assert old.execute(BARE).fetchall() == []


def test_no_statement_is_refused_because_a_table_has_no_replica_identity(published: Connection[Any]) -> None:
    db = published
    db.execute(
        "insert into pgqueue.jobs (task, state, worker_id) values ('a', 'running', 1), ('a', 'pending', null)"
    )
    refused = []
    for name, sample in SAMPLES.items():
        if name.startswith("copy_"):
            continue
        with db.transaction(force_rollback=True):
            try:
                db.execute(sample.text, sample.parameters)  # type: ignore[arg-type]
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                refused.append((name, str(error)))
            except psycopg.Error:
                pass  # the sample refers to a row that does not exist
    assert refused == []


def test_jobs_are_settled_rescued_revived_and_purged_in_a_published_database(
    published: Connection[Any], app: App
) -> None:
    db = published

    @app.task(name="ok")
    async def ok() -> None: ...

    hand = Hand(db, ["ok"])
    db.execute("insert into pgqueue.limits (rate, period, sliding, burst) values (100, '1 min', true, null)")
    db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 5)")
    attempts = hand.claim()
    if not attempts:  # the statement `claim` takes no jobs that have a limit
        db.execute("delete from pgqueue.limits")
        attempts = hand.claim()
    run(db, statements.write_progress(hand.id, [(attempts[0].id, attempts[0].lease_id, Progress(1))]))
    outcomes = [COMPLETED, Outcome.dead("permanent_error", ValueError("no")), Outcome.snoozed(0.0)]
    for attempt, outcome in zip(attempts, outcomes, strict=False):
        assert hand.settle(attempt, outcome)
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [hand.id])
    assert len(run(db, statements.rescue(3, 10))) == 2
    [(dead,)] = db.execute("select id from pgqueue.jobs where state = 'dead'").fetchall()
    assert db.execute("select pgqueue.revive(%s)", [dead]).fetchone() == ("revived",)
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.1)).run()
    run(db, statements.recount_seats())
    run(db, statements.purge(10))
    db.execute("delete from pgqueue.transitions")
    assert db.execute("select distinct state from pgqueue.jobs").fetchall() == [("completed",)]
