"""Only pgqueue itself stores a message of an alert, or tells a hook."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgqueue import App, statements
from pgqueue.database import run
from pgqueue.errors import InvalidNameError, InvalidOptionError
from pgqueue.job import Batch
from pgqueue.outcome import Outcome
from pgqueue.schedule import Schedule
from tests.stages.hands import Hand

NAMES = [
    "pgqueue.alert_mail",
    "pgqueue.alert_webhook",
    "pgqueue.anything",
    "shop.charge:on_dead",
    "t:on_whatever",
]
COUNT = "select count(*) from pgqueue.jobs"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text",
    [
        "insert into pgqueue.jobs (task) values (%(name)s)",
        "insert into pgqueue.jobs_live (task, queue) values (%(name)s, 'pgqueue.hooks')",
        "select * from pgqueue.enqueue(%(name)s)",
        "select * from pgqueue.enqueue('t') union all select * from pgqueue.enqueue(%(name)s)",
        "select * from pgqueue.enqueue_many(jsonb_build_array(jsonb_build_object('task', 't'), jsonb_build_object('task', %(name)s::text)))",
        'select * from pgqueue.enqueue(%(name)s, \'{}\', \'{"unique_key": "k", "debounce": 5}\')',
        'select * from pgqueue.enqueue(%(name)s, \'{}\', \'{"idempotency_key": "k", "queue": "pgqueue.alerts"}\')',
        "insert into pgqueue.schedules (name, task, every) values ('s', %(name)s, '1 min')",
    ],
)
def test_sql_stores_no_job_of_a_reserved_name(db, name, text):
    with pytest.raises(psycopg.DatabaseError, match="is reserved") as caught:
        db.execute(text.encode(), {"name": name})
    assert caught.value.sqlstate == "PQ404"
    assert db.execute(COUNT).fetchone() == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_the_statements_of_python_store_none_either(db, name):
    lines = [
        "\t".join([str(n), name, "{}", "default", "0", *["now"] * 2, "6", *["\\N"] * 4, "{}", "{}", "\\N"])
        + "\n"
        for n in range(9)
    ]
    for attempt in (
        lambda: run(db, statements.insert_job(name, "{}", {})),
        lambda: run(db, statements.insert_unique(name, "{}", {"unique_key": "k"})),
        lambda: run(db, statements.enqueue_many([Batch(name, ["{}", "{}"])])),
        lambda: copied(db, lines),
    ):
        with pytest.raises((InvalidOptionError, psycopg.DatabaseError), match="is reserved"):
            attempt()
    assert db.execute(COUNT).fetchone() == (0,)


def copied(db, lines):
    with db.cursor().copy(statements.copy_jobs().text) as sink:
        for line in lines:
            sink.write(line)


@pytest.mark.parametrize("name", NAMES)
def test_no_task_or_schedule_of_python_has_such_a_name(name):
    app = App("")
    with pytest.raises(InvalidNameError, match="keeps for itself"):
        app.task(name=name)(lambda: None)
    with pytest.raises(InvalidNameError, match="keeps for itself"):
        Schedule(name="s", task=name, every=60).check()


def test_an_ordinary_name_with_a_colon_or_a_dot_is_free(db):
    for name in ("shop.pgqueue.x", "pgqueue", "pgqueue_x.y", "shop:on", "shop:onward", "a:b:c"):
        db.execute("insert into pgqueue.jobs (task) values (%s)", [name])


def test_a_dead_hook_and_a_dead_message_can_be_revived(db):
    for name in ("t:on_dead", "pgqueue.alert_mail"):
        db.execute("insert into pgqueue.jobs_live (task, ours) values (%s, true)", [name])
        hand = Hand(db, [name])
        [attempt] = hand.claim()
        hand.settle(attempt, Outcome.dead("permanent_error", ValueError("x")))
        assert db.execute("select pgqueue.revive(%s)", [attempt.id]).fetchone() == ("revived",)


def test_a_hook_is_told_by_settle_and_does_not_see_who_stored_it(db):
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    hand = Hand(db, ["t", "t:on_dead"])
    [attempt] = hand.claim()
    run(
        db,
        statements.settle(
            hand.id,
            [(attempt.id, attempt.lease_id, Outcome.dead("permanent_error", ValueError("x")))],
            ["t:on_dead"],
        ),
    )
    [(task, args)] = db.execute("select task, args from pgqueue.jobs_live").fetchall()
    assert task == "t:on_dead"
    assert "ours" not in json.dumps(args)


def test_a_role_that_may_only_enqueue_cannot_say_that_a_job_is_pgqueues_own(role):
    mine = role(
        "grant usage on schema pgqueue to ROLE",
        "grant insert (task, args, queue), select (id, queue, run_at) on pgqueue.jobs_live to ROLE",
        "grant usage on sequence pgqueue.jobs_id_seq to ROLE",
    )
    with psycopg.connect(mine, autocommit=True) as connection:
        connection.execute("insert into pgqueue.jobs_live (task) values ('t')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into pgqueue.jobs_live (task, ours) values ('t:on_dead', true)")
