"""The SQL of pgqueue calls only the server's own functions and operators, whatever the schemas of the search path contain.

Here a schema with traps comes before pg_catalog in the search path. A trap has the name and the arguments of a function or an
operator of the server. It raises an error when it is called. So a test fails if PostgreSQL looks for such a name in the schemas of
the search path. SQL that calls no trap is called safe.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from pgqueue import App, Job
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import connect as connect_ours
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.sql import functions, load, names
from pgqueue.worker.worker import Worker
from tests.worker_by_hand import Hand

SERVERS_FUNCTIONS = """
select p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid)
from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind in ('f', 'a') and p.proname = any(%s)
"""
SERVERS_OPERATORS = """
select o.oprname, nullif(o.oprleft, 0)::regtype::text, o.oprright::regtype::text, o.oprresult::regtype::text
from pg_operator o where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprright <> 0 and o.oprresult <> 0 and o.oprcode <> 0
  and not 'internal'::regtype = any(array[o.oprleft, o.oprright, o.oprresult])
"""
DOMAINS = "select t.typname, t.typbasetype::regtype::text from pg_type t where t.typnamespace = 'pgqueue'::regnamespace and t.typtype = 'd'"


def lay_traps(db: Connection[Any]) -> int:
    """Makes the traps in the schema ``evil``; returns the number of traps."""
    words = sorted(
        set(re.findall(r"\b([a-z_0-9]+)\(", " ".join([*functions().values(), *map(load, names())])))
    )
    traps = ["create schema evil", "grant usage on schema evil to public"]
    for name, arguments, result in db.execute(SERVERS_FUNCTIONS, [words]).fetchall():
        if not re.search(r"\"any\"|internal|ORDER BY|cstring", arguments + result):
            traps.append(trap(f"evil.{name}({arguments})", result, name))
    for name, left, right, result in db.execute(SERVERS_OPERATORS).fetchall():
        traps.append(operator(len(traps), name, left, right, result))
    # Makes traps for the domains of pgqueue, too: PostgreSQL prefers an operator for exactly these types to an operator for their base types.
    for domain, base in db.execute(DOMAINS).fetchall():
        for name in ("=", "<>", "<", "<=", ">", ">="):
            traps.append(operator(len(traps), name, f"pgqueue.{domain}", base, "boolean"))
    with db.transaction():
        db.execute("set local check_function_bodies = off")
        for text in traps:
            db.execute(text.encode())
    return len(traps)


def trap(signature: str, result: str, name: str) -> str:
    return f"create function {signature} returns {result} language plpgsql as $$ begin raise exception 'a trap: %', '{name}'; end $$"


def operator(number: int, name: str, left: str | None, right: str, result: str) -> str:
    arguments = ", ".join(filter(None, [left, right]))
    sides = ", ".join(filter(None, [left and f"leftarg = {left}", f"rightarg = {right}"]))
    made = trap(f"evil.operator_{number}({arguments})", result, f"{left} {name} {right}")
    return f"{made}; create operator evil.{name} (function = evil.operator_{number}, {sides})"


@pytest.fixture
def trapped(db: Connection[Any], dsn: str) -> str:
    """Returns a DSN. In the sessions of this DSN, the schema with the traps comes first in the search path."""
    assert lay_traps(db) > 1000
    return make_conninfo(dsn, options="-c search_path=evil,pg_catalog")


@pytest.fixture
def there(trapped: str) -> Any:
    with psycopg.connect(trapped, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="a trap"):
            connection.execute("select 1 + 1")
        yield connection


def test_every_way_to_enqueue_on_the_callers_connection_is_safe(there, app):
    there.autocommit = False

    @app.task(name="t")
    def task(n: int = 0) -> None: ...

    soon = datetime(2100, 1, 1, tzinfo=UTC)
    task.using(connection=there, tags=["a"], meta={"a": 1}, timeout=5, delay=0).enqueue(n=1)
    task.using(connection=there, run_at=soon).enqueue()
    task.using(connection=there, unique_key="k").enqueue()
    task.using(connection=there, unique_key="k").enqueue()  # another job has the key
    task.using(connection=there, unique=["n"], unique_for=60).enqueue(n=2)
    task.using(connection=there, unique=True).enqueue(n=3)
    task.using(connection=there, idempotency_key="i").enqueue()
    task.using(connection=there, unique_key="d", debounce=5, debounce_max=60).enqueue()
    task.using(connection=there, unique_key="r", on_conflict="replace", expires=60, deadline=90).enqueue()
    task.using(connection=there, concurrency_key="c", ordering="block", weight=2).enqueue()
    there.commit()
    for count in (3, 100):
        assert len(task.using(connection=there).enqueue_many([{"n": n} for n in range(count)])) == count


def test_every_function_for_applications_is_safe(there, db):
    call = there.execute
    call("insert into pgqueue.jobs (task, args, queue) values ('t', '{}', 'mail')")
    [(job,)] = call(
        "select id from pgqueue.enqueue('t', '{}', '{\"unique\": true, \"expires\": 60}')"
    ).fetchall()
    call(
        'select * from pgqueue.enqueue_many(\'[{"task": "t", "each": [{"a": 1}, {"a": 2}], "unique": ["a"]}]\')'
    )
    assert call("select reason from pgqueue.why(%s)", [job]).fetchone() == ("no_worker",)
    assert call('select pgqueue.edit(%s, \'{"priority": 3, "delay": 5}\')', [job]).fetchone() == ("edited",)
    assert call("select pgqueue.cancel(%s)", [job]).fetchone() == ("cancelled",)
    assert call("select pgqueue.revive(%s)", [job]).fetchone() == ("revived",)
    call("insert into pgqueue.limits (queue, concurrency) values ('mail', 1)")
    call("update pgqueue.limits set concurrency = 2")
    call("insert into pgqueue.schedules (name, task, every, tz) values ('s', 't', '1 min', 'UTC')")
    call("update pgqueue.schedules set paused = true")
    assert call("select pgqueue.run_schedule('s')").fetchone() is not None
    for small in (
        "is_full(1, 1, 2, null, pg_catalog.clock_timestamp())", "is_overdue('pending', null, null, false, pg_catalog.clock_timestamp())",
        "rare_fields(pg_catalog.clock_timestamp(), null, null, null, '{a}', '{}', true, 7, 3::pg_catalog.int2)", "cancel_workflow(7)",
        "enqueue_batch('{\"name\": \"b\", \"jobs\": [{\"task\": \"t\"}], \"open\": true, \"at_once\": 1, \"on_end\": {\"task\": \"t\"}}')",
        "add_to_batch(1, '[{\"task\": \"t\"}]')", "retry_members(1, 0, 9)", "seal_batch(1)", "abandon_batch(1)", "cancel_workflow(1)",
        "unclaimed_queues()", "day_tables()", "lanes_in_turns()",
        "add_partitions(3)", "drop_partitions()", "recount_seats()", "purge_jobs('jobs_done_default', 0, 1)", "mute_alert(1, 1)",
        "resolve_alert(1)", "is_served('mail', '{m*}')", "time_in_words(pg_catalog.clock_timestamp())", "wake('mail')",
        "unique_key('{\"a\": 1}', '[\"a\"]', null, 60, pg_catalog.clock_timestamp())",
        "unique_key('{\"a\": 1}', '[\"a\", \"b\"]', null, null, pg_catalog.clock_timestamp())",
        "job_items('[{\"task\": \"t\", \"delay\": 1, \"unique_key\": \"k\", \"unique_for\": 9}]', '{f}', pg_catalog.clock_timestamp())",
    ):  # fmt: skip
        call(f"select * from pgqueue.{small}".encode()).fetchall()
    for view in (
        "running",
        "dead_letters",
        "queue_depth",
        "job_timeline",
        "schedule_overview",
        "batch_overview",
    ):
        call(f"select * from pgqueue.{view}".encode()).fetchall()


def test_the_statements_of_handles_are_safe(there, app):
    @app.task(name="t")
    def task() -> None: ...

    handle = task.enqueue()
    assert run(there, statements.get_job(handle.id)).state == "pending"
    assert run(there, statements.why(handle.id)).reason == "no_worker"
    assert run(there, statements.edit(handle.id, {"priority": 3})) == "edited"
    assert run(there, statements.cancel(handle.id)) == "cancelled"


@pytest.mark.parametrize("limited", [False, True])
def test_the_statements_of_a_worker_and_of_job_transaction_are_safe(trapped, dsn, db, limited):
    """A worker claims, settles, retries, calls a hook and keeps to a limit. The traps come first in the search path of its sessions."""
    app = App(trapped)
    ended: list[str] = []

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="own", retry=[0, 0])
    def own(job: Job) -> None:
        with job.transaction() as connection:
            connection.execute("select pg_catalog.pg_backend_pid()")

    @app.task(name="with_result")
    def with_result(job: Job) -> str:
        with job.transaction(result="done") as connection:
            connection.execute("select pg_catalog.pg_backend_pid()")
        return "done"

    @with_result.on_completed
    def note_end(job: Job) -> None:
        ended.append(job.task)

    @app.task(name="fails", retry=[0, 0])
    def fails() -> None:
        raise ValueError("no")

    if limited:
        db.execute(
            "insert into pgqueue.limits (queue, concurrency, rate, period) values ('default', 5, 100, '1 s')"
        )
    for name in ("plain", "own", "with_result", "fails"):
        db.execute('select from pgqueue.enqueue(%s, \'{}\', \'{"tags": ["a"], "deadline": 600}\')', [name])
    settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.1, heartbeat=0.2, lease=5)
    try:
        assert Worker(app, settings).run() == 0
    finally:
        app.close()
    states = dict(db.execute("select task, state from pgqueue.jobs where queue = 'default'").fetchall())
    assert states == {"plain": "completed", "own": "completed", "with_result": "completed", "fails": "dead"}
    assert ended == ["with_result"]


def test_the_statements_of_pgq_commands_are_safe(trapped, there):
    from pgqueue.ui.cli.doctor import examine

    with connect_ours(trapped) as ours:
        assert ours.execute("show search_path").fetchone() == ("pg_catalog, pg_temp",)
        hand = Hand(ours, ["t"])
        ours.execute("select pgqueue.enqueue('t')")
        assert hand.settle(hand.claim(1)[0], Outcome.dead("permanent_error", ValueError("x")))
        assert [finding for finding in examine(ours, trapped) if "a trap" in finding.what] == []
        run(ours, statements.list_jobs())
        run(ours, statements.list_queues())
        run(ours, statements.list_schedules())


def test_a_migration_is_safe(trapped):
    from pgqueue.database import migrate

    migrate.upgrade(trapped)
