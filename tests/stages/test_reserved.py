"""Only pgqueue itself can store the jobs that send the messages of alerts, and the jobs that call hooks."""

from __future__ import annotations

import json

import psycopg
import pytest

from pgqueue import App
from pgqueue.app import copy_lines
from pgqueue.app.storing import insertion
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.flows import drive
from pgqueue.database.run import run
from pgqueue.errors import InvalidNameError, InvalidOptionError
from pgqueue.model.new_job import Batch
from pgqueue.model.outcome import Outcome
from pgqueue.model.schedule import Schedule
from pgqueue.worker.worker import Worker
from tests.worker_by_hand import Hand

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
        "select * from pgqueue.enqueue(%(name)s)",
        "select * from pgqueue.enqueue('t') union all select * from pgqueue.enqueue(%(name)s)",
        "select * from pgqueue.enqueue_many(jsonb_build_array(jsonb_build_object('task', 't'), jsonb_build_object('task', %(name)s::text)))",
        'select * from pgqueue.enqueue(%(name)s, \'{}\', \'{"unique_key": "k", "debounce": 5}\')',
        'select * from pgqueue.enqueue(%(name)s, \'{}\', \'{"idempotency_key": "k", "queue": "pgqueue.alerts"}\')',
        "insert into pgqueue.schedules (name, task, every) values ('s', %(name)s, '1 min')",
    ],
)
def test_sql_refuses_a_job_or_a_schedule_whose_task_has_a_reserved_name(db, name, text):
    with pytest.raises(psycopg.DatabaseError, match="is reserved") as caught:
        db.execute(text.encode(), {"name": name})
    assert caught.value.sqlstate == "PQ404"
    assert "schedules" in text or "for messages of alerts and for hooks" in caught.value.diag.message_hint
    assert db.execute(COUNT).fetchone() == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_the_statements_of_python_refuse_a_job_whose_task_has_a_reserved_name(db, name):
    for count, options in [(1, {}), (1, {"unique_key": "k"}), (2, {}), (copy_lines.SMALLEST_COPY, {})]:
        with pytest.raises(InvalidOptionError, match="is reserved"):
            drive(db, insertion(db, [Batch(name, ["{}"] * count, options)]))
    assert db.execute(COUNT).fetchone() == (0,)


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
@pytest.mark.parametrize("queue", ["default", "pgqueue.hooks"])
def test_a_job_with_a_reserved_name_that_was_inserted_without_checks_becomes_dead_without_running(
    db, dsn, tmp_path, executor, queue
):
    """A role that is allowed to enqueue can insert into jobs_live, as Python does. No trigger checks names there, because such a trigger would slow each insert by a tenth."""
    ran = tmp_path / "ran"
    app = App(dsn)

    @app.task(name="t", executor=executor)
    def task() -> None: ...

    task.on_dead(lambda job, failure: ran.touch())
    db.execute("insert into pgqueue.jobs_live (task, queue) values ('t:on_dead', %s)", [queue])
    settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.1)
    Worker(app, settings).run()
    [(state, reason, said)] = db.execute(
        "select j.state, x.reason, j.last_error from pgqueue.jobs j join pgqueue.transitions x on x.job_id = j.id"
    ).fetchall()
    assert (state, reason) == ("dead", "undecodable")
    assert "Only pgqueue itself stores jobs of this name" in said
    assert not ran.exists()


@pytest.mark.parametrize("name", NAMES)
def test_python_refuses_a_task_or_a_schedule_with_a_reserved_name(name):
    app = App("")
    with pytest.raises(InvalidNameError, match="keeps for itself"):
        app.task(name=name)(lambda: None)
    with pytest.raises(InvalidNameError, match="keeps for itself"):
        Schedule(name="s", task=name, every=60).check()


def test_an_ordinary_name_with_a_colon_or_a_dot_is_accepted(db):
    for name in ("shop.pgqueue.x", "pgqueue", "pgqueue_x.y", "shop:on", "shop:onward", "a:b:c"):
        db.execute("insert into pgqueue.jobs (task) values (%s)", [name])


ENDS = {
    "settled": (
        "",
        lambda db, hand, job: hand.settle(hand.claim()[0], Outcome.dead("permanent_error", ValueError("x"))),
    ),
    "made dead": ("", lambda db, hand, job: run(db, statements.make_dead(job, None, "it is bad"))),
    "cancelled": ("", lambda db, hand, job: run(db, statements.cancel(job))),
    "overdue": ("deadline_at = '2000-01-01Z'", lambda db, hand, job: run(db, statements.finish_overdue(10))),
    "rescued": ("crash_count = 9", lambda db, hand, job: lose_and_rescue(db, hand)),
}


def lose_and_rescue(db, hand):
    hand.claim()
    db.execute("update pgqueue.workers set expires_at = now()")
    run(db, statements.rescue(3, 10))


@pytest.mark.parametrize("ours", [True, None])
@pytest.mark.parametrize("how", ENDS)
def test_a_job_of_pgqueue_ends_like_any_other_job_and_keeps_its_mark_when_it_is_revived(db, how, ours):
    """A job with a reserved name that was inserted without checks is not marked by stored_by_pgqueue. It ends, too, and a revival does not mark it."""
    for name in ("t:on_dead", "pgqueue.alert_mail"):
        [job] = db.execute(
            "insert into pgqueue.jobs_live (task, stored_by_pgqueue) values (%s, %s) returning id",
            [name, ours],
        ).fetchone()
        hand = Hand(db, [name])
        change, end = ENDS[how]
        if change:
            db.execute(f"update pgqueue.jobs_live set {change}".encode())
        end(db, hand, job)
        [state] = db.execute("select state from pgqueue.jobs where id = %s", [job]).fetchone()
        assert state in ("dead", "cancelled")
        assert db.execute("select pgqueue.revive(%s)", [job]).fetchone() == ("revived",)
        assert db.execute("delete from pgqueue.jobs_live returning id, stored_by_pgqueue").fetchall() == [
            (job, ours)
        ]


def test_settle_stores_the_job_of_a_hook_and_its_arguments_do_not_contain_stored_by_pgqueue(db):
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
    [(task, args, ours)] = db.execute(
        "select task, args, stored_by_pgqueue from pgqueue.jobs_live"
    ).fetchall()
    assert (task, ours) == ("t:on_dead", True)
    assert "stored_by_pgqueue" not in json.dumps(args)


def test_a_role_that_can_only_enqueue_cannot_mark_a_job_as_a_job_of_pgqueue(role):
    mine = role(
        "grant usage on schema pgqueue to ROLE",
        "grant insert (task, args, queue), select (id, queue, run_at) on pgqueue.jobs_live to ROLE",
        "grant usage on sequence pgqueue.jobs_id_seq to ROLE",
    )
    with psycopg.connect(mine, autocommit=True) as connection:
        connection.execute("insert into pgqueue.jobs_live (task) values ('t')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "insert into pgqueue.jobs_live (task, stored_by_pgqueue) values ('t:on_dead', true)"
            )
