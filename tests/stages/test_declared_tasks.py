"""Jobs that SQL stores get the options that their task declares, unless the caller gives other options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database.run import run
from pgqueue.database.statements import purge_runs
from pgqueue.maintenance.declarations import Declarations

HEARTBEAT = 1.0
COLUMNS = "select queue, max_attempts, priority, timeout from pgqueue.jobs where id = %s"
DECLARED = ("slow", 2, -5, timedelta(seconds=90))  # the values of COLUMNS that the task t declares
DEFAULTS = ("default", 6, 0, None)  # the values of COLUMNS if the task declares none


def declare(db: Connection[Any], app: App) -> None:
    specs = [task.spec for task in app.tasks.values()]
    run(db, Declarations(app.name, [], HEARTBEAT, specs).sync_tasks())


@pytest.fixture
def tasks(app: App, db: Connection[Any]) -> App:
    @app.task(name="t", queue="slow", retry=2, priority=-5, timeout=90)
    def t(n: int = 1) -> None: ...

    @app.task(name="keyed", unique=["n"], throttle=60)
    def keyed(n: int = 1) -> None: ...

    declare(db, app)
    return app


def insert(db: Connection[Any], columns: str = "", *values: object, task: str = "t") -> int:
    places = ", %s" * len(values)
    [(job_id,)] = db.execute(
        f"insert into pgqueue.jobs (task, args{columns}) values (%s, '{{}}'{places}) returning id".encode(),
        [task, *values],
    ).fetchall()
    return int(job_id)


def enqueue(db: Connection[Any], options: str = "{}", task: str = "t") -> int:
    [(job_id,)] = db.execute("select id from pgqueue.enqueue(%s, '{}', %s)", [task, options]).fetchall()
    return int(job_id)


def enqueue_many(db: Connection[Any], options: str = "{}", task: str = "t") -> int:
    [(job_id,)] = db.execute(
        "select id from pgqueue.enqueue_many(jsonb_build_array(%s::jsonb || jsonb_build_object('task', %s::text)))",
        [options, task],
    ).fetchall()
    return int(job_id)


def columns(db: Connection[Any], job_id: int) -> Sequence[Any]:
    [row] = db.execute(COLUMNS, [job_id]).fetchall()
    return row


@pytest.mark.parametrize("make", [insert, enqueue, enqueue_many])
def test_options_that_sql_leaves_out_get_the_values_that_the_task_declares(
    tasks, db, make: Callable[..., int]
) -> None:
    assert columns(db, make(db)) == DECLARED
    assert columns(db, make(db, task="unheard_of")) == DEFAULTS


@pytest.mark.parametrize("make", [enqueue, enqueue_many])
def test_options_given_in_sql_override_the_options_that_the_task_declares(
    tasks, db, make: Callable[..., int]
) -> None:
    assert columns(db, make(db, '{"queue": "default"}')) == ("default", *DECLARED[1:])
    assert columns(db, make(db, '{"max_attempts": 6, "priority": 0}')) == ("slow", 6, 0, DECLARED[3])
    assert columns(db, make(db, '{"timeout": null}')) == (*DECLARED[:3], None)


def test_columns_given_in_an_insert_statement_override_the_options_that_the_task_declares(tasks, db) -> None:
    assert columns(db, insert(db, ", queue", "default")) == ("default", *DECLARED[1:])
    assert columns(db, insert(db, ", max_attempts, priority", 6, 0)) == ("slow", 6, 0, DECLARED[3])
    assert columns(db, insert(db, ", timeout", None)) == (*DECLARED[:3], None)


def test_each_row_of_one_insert_gets_the_options_that_its_task_declares(tasks, db) -> None:
    db.execute(
        "insert into pgqueue.jobs (task, args) select task, jsonb_build_object('n', n)"
        " from unnest(array['t', 'keyed', 'unheard_of']) task, generate_series(1, 3) n"
    )
    found = db.execute(
        "select task, queue, max_attempts, count(*) from pgqueue.jobs group by 1, 2, 3 order by 1"
    ).fetchall()
    assert found == [("keyed", "default", 6, 3), ("t", "slow", 2, 3), ("unheard_of", "default", 6, 3)]


def test_finished_jobs_that_are_inserted_get_the_defaults(tasks, db) -> None:
    db.execute(
        "insert into pgqueue.jobs (task, state, finished_at) select 't', state, now()"
        " from unnest(array['completed', 'cancelled', 'dead']) state"
    )
    assert db.execute(
        "select distinct queue, max_attempts, priority, timeout from pgqueue.jobs"
    ).fetchall() == [DEFAULTS]


def test_declared_options_about_duplicates_apply_unless_the_caller_gives_other_options(tasks, db) -> None:
    first = enqueue(db, task="keyed")
    assert enqueue(db, task="keyed") == first
    other = enqueue(db, '{"unique": false}', task="keyed")
    assert other != first
    assert enqueue(db, '{"idempotency_key": "k", "unique_key": "mine"}', task="keyed") not in (first, other)


def test_jobs_of_a_role_that_is_only_allowed_to_insert_get_the_declared_options(tasks, db) -> None:
    role = f"inserter_{db.info.backend_pid}"
    db.execute(f"create role {role}".encode())
    try:
        db.execute(f"grant usage on schema pgqueue to {role}".encode())
        db.execute(
            f"grant insert on pgqueue.jobs to {role}; grant usage on sequence pgqueue.jobs_id_seq to {role}".encode()
        )
        db.execute(f"set role {role}".encode())
        db.execute("insert into pgqueue.jobs (task) values ('t')")
        db.execute("reset role")
        [(job_id,)] = db.execute("select id from pgqueue.jobs").fetchall()
        assert columns(db, job_id) == DECLARED
    finally:
        db.execute("reset role")
        db.execute(f"drop owned by {role}; drop role {role}".encode())


def test_jobs_from_python_do_not_depend_on_the_stored_options_of_their_task(tasks, db) -> None:
    db.execute("""update pgqueue.tasks set options = '{"queue": "stale", "timeout": 5, "max_attempts": 1}'""")
    ids = [
        handle.id
        for handle in tasks.tasks["keyed"].using(unique=False).enqueue_many([{"n": n} for n in range(3)])
    ]
    ids += [handle.id for handle in tasks.tasks["keyed"].enqueue_many([{"n": n} for n in range(3)])]
    ids += [tasks.tasks["keyed"].using(unique=False).enqueue(n=9).id]
    assert {tuple(columns(db, job_id)) for job_id in ids} == {DEFAULTS}


def test_jobs_of_a_schedule_made_by_sql_get_the_declared_options(tasks, db) -> None:
    db.execute("insert into pgqueue.schedules (name, task, cron) values ('s', 't', '0 0 * * *')")
    [(job_id,)] = db.execute("select pgqueue.run_schedule('s')").fetchall()
    assert columns(db, job_id) == DECLARED


def test_the_newest_declaration_of_a_task_applies_while_workers_of_its_deploy_live(db, dsn) -> None:
    def deploy(queue: str) -> App:
        app = App(dsn)
        app.task(name="t", queue=queue)(_nothing)
        return app

    def queue() -> str:
        [(name,)] = db.execute("select options ->> 'queue' from pgqueue.tasks").fetchall()
        return str(name)

    old, new, newest = deploy("old"), deploy("new"), deploy("newest")
    declare(db, old)
    declare(db, new)
    declare(db, newest)
    for _ in range(3):
        declare(db, old)
        declare(db, new)
        assert queue() == "newest"
    # The workers of the newest deploy have ended.
    db.execute("update pgqueue.tasks set seen_at = now() - interval '1 min'")
    declare(db, old)
    assert queue() == "old"
    declare(db, newest)
    assert queue() == "old", "the last worker of a deploy that was rolled back changes nothing"


def _nothing() -> None: ...


def test_a_task_that_no_worker_has_declared_for_a_month_is_deleted(tasks, db) -> None:
    db.execute("update pgqueue.tasks set seen_at = now() - interval '31 days' where name = 't'")
    run(db, purge_runs(100))
    assert db.execute("select name from pgqueue.tasks").fetchall() == [("keyed",)]


@pytest.mark.parametrize("make", [insert, enqueue, enqueue_many])
def test_jobs_that_were_stored_before_the_declaration_of_their_task_get_the_declared_options(
    app, db, make: Callable[..., int]
) -> None:
    bare = make(db)
    db.execute(
        'select pgqueue.enqueue_many(\'[{"task": "other"}, {"task": "t", "each": [{}, {}], "timeout": 5}]\')'
    )

    @app.task(name="t", queue="slow", retry=2, priority=-5, timeout=90)
    def t(n: int = 1) -> None: ...

    own = [
        t.using(queue="default", timeout=7).enqueue().id,
        t.using(queue="default").enqueue_many([{}, {}])[0].id,
    ]
    assert columns(db, bare) == DEFAULTS
    declare(db, app)
    assert columns(db, bare) == DECLARED
    assert [columns(db, job_id) for job_id in own] == [
        ("default", 2, -5, timedelta(seconds=7)), ("default", 2, -5, timedelta(seconds=90)),
    ]  # fmt: skip
    rest = db.execute(
        "select task, queue, max_attempts, timeout, undeclared is null from pgqueue.jobs where id > %s and id < %s order by id",
        [bare, own[0]],
    ).fetchall()
    said = timedelta(seconds=5)
    assert rest == [
        ("other", "default", 6, None, False),
        ("t", "slow", 2, said, True),
        ("t", "slow", 2, said, True),
    ]


def test_a_row_inserted_before_the_declaration_of_its_task_keeps_the_columns_that_were_given(app, db) -> None:
    said = insert(db, ", queue, max_attempts", "default", 6)
    app.task(name="t", queue="slow", retry=2, priority=-5, timeout=90)(_nothing)
    declare(db, app)
    assert columns(db, said) == ("default", 6, *DECLARED[2:])
