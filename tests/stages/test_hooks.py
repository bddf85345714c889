"""One statement stores an outcome together with the jobs that call its hooks: all of them or none."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Job
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidNameError
from pgqueue.model.hooks import EVENTS, job_told
from pgqueue.model.outcome import Outcome
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.running.hook_tasks import handlers
from tests.worker_by_hand import Hand

HOOKS = [f"a:on_{event}" for event in EVENTS]
OUTCOMES: list[tuple[Outcome, set[str]]] = [
    (Outcome.completed(), {"completed"}),
    (Outcome.completed('{"x": 1}', "none"), {"completed"}),
    (Outcome.retried(5.0, ValueError("no")), {"failed", "retry"}),
    (Outcome.dead("attempts_exhausted", ValueError("no")), {"failed", "dead"}),
    (Outcome.dead("permanent_error", ValueError("no"), "none"), {"failed", "dead"}),
    (Outcome.dead("deadline_exceeded", ValueError("late")), {"failed", "dead"}),
    (replace(Outcome.dead("deadline_exceeded", ValueError("never begun")), begun=False), {"dead"}),
    (Outcome.cancelled("why"), set()),
    (Outcome.expired(), set()),
    (Outcome.snoozed(5.0), set()),
    (Outcome.released(), set()),
]


def insert(db: Connection[Any], **columns: Any) -> int:
    columns = {"task": "a", "args": "{}", **columns}
    places = ", ".join(["%s"] * len(columns))
    statement = f"insert into pgqueue.jobs ({', '.join(columns)}) values ({places}) returning id"
    return db.execute(statement.encode(), list(columns.values())).fetchone()[0]


def settle(
    db: Connection[Any], hand: Hand, attempt: Attempt, outcome: Outcome, hooks: list[str]
) -> list[int]:
    return run(db, statements.settle(hand.id, [(attempt.id, attempt.lease_id, outcome)], hooks))


def arguments_of_hooks(db: Connection[Any]) -> dict[str, dict[str, Any]]:
    """Returns, for each event, the arguments of the job that calls the hook of this event."""
    rows = db.execute("select task, args from pgqueue.jobs_live where task like '%:on\\_%'").fetchall()
    assert len(dict(rows)) == len(rows), "each hook has only one job"
    return {task.rpartition(":on_")[2]: args for task, args in rows}


@pytest.mark.parametrize(("outcome", "events"), OUTCOMES, ids=[o.reason for o, _ in OUTCOMES])
def test_an_outcome_stores_a_job_for_each_hook_of_its_events(db, outcome, events):
    job_id = insert(
        db,
        args='{"n": 1}',
        queue="mail",
        priority=3,
        tags=["t"],
        timeout="90 s",
        trace_context='{"traceparent": "00-x"}',
    )
    hand = Hand(db, ["a"], "mail")
    [attempt] = hand.claim()
    assert settle(db, hand, attempt, outcome, HOOKS) == [job_id]
    found = arguments_of_hooks(db)
    assert set(found) == events
    for args in found.values():
        job = job_told(args["job"])
        assert (job.id, job.task, job.args, job.queue, job.priority, job.tags, job.timeout, job.attempt, job.lease_id) == (
            job_id, "a", {"n": 1}, "mail", 3, ("t",), 90.0, 1, attempt.lease_id,
        )  # fmt: skip
        assert job.state == outcome.state
        assert (job.finished_at is not None) == job.is_final
        assert (args["reason"], args["error"]) == (outcome.reason, outcome.error)
        assert job.result == ({"x": 1} if outcome.result else None)
        assert job.last_error == outcome.error
    rows = db.execute(
        "select queue, priority, trace_context from pgqueue.jobs_live where task <> 'a'"
    ).fetchall()
    assert set(map(str, rows)) <= {str(("pgqueue.hooks", 3, {"traceparent": "00-x"}))}


GIVEN = {
    "concurrency_key": "k", "ordering": "block", "weight": 7, "unique_key": "u", "deadline_at": "2999-01-01 00:00+00",
    "progress": '{"done": 3}', "tags": ["t"], "timeout": "90 s", "max_attempts": 1,
}  # fmt: skip


def test_a_hooks_job_has_the_options_of_the_original_job_only_in_its_arguments(db):
    """So the hook's job does not wait for a limit on the original job's queue, task or key, and does not use such a limit up."""
    for scope in ("queue", "task"):
        db.execute(f"insert into pgqueue.limits ({scope}, concurrency) values ('a', 1)".encode())
    db.execute("insert into pgqueue.limits (per_key, rate, period) values (true, 1, '1 hour')")
    for _ in range(2):
        insert(db, queue="a", **{**GIVEN, "unique_key": None})
    hand = Hand(db, ["a", *HOOKS], "a")
    [row] = run(db, statements.claim_limited(hand.id, ["a"], ("a", 0), "", 10)).rows
    attempt = Attempt(hand.id, row)
    assert settle(db, hand, attempt, Outcome.dead("permanent_error", ValueError("no")), HOOKS)
    given = (
        "concurrency_key, ordering, weight, unique_key, deadline_at, progress, tags, timeout, max_attempts"
    )
    rows = db.execute(
        f"select {given} from pgqueue.jobs_live where queue = 'pgqueue.hooks'".encode()
    ).fetchall()
    assert rows == [(None, None, None, None, None, None, [], None, 6)] * 2
    for args in arguments_of_hooks(db).values():
        job = job_told(args["job"])
        assert (job.concurrency_key, job.tags, job.timeout, job.progressed) == (
            "k",
            ("t",),
            90.0,
            {"done": 3},
        )
        assert job.deadline_at is not None
        assert job.deadline_at.year == 2999
        assert "seats_taken" not in args["job"]
    # The dead job blocks the next job of its key, and the rate of the key is used up.
    assert run(db, statements.claim_limited(hand.id, ["a"], ("a", 0), "", 10)).rows == []
    hooks = Hand(db, HOOKS, "pgqueue.hooks")
    rows = run(db, statements.claim_limited(hooks.id, HOOKS, ("pgqueue.hooks", 0), None, 10)).rows
    assert {Attempt(hooks.id, row).task for row in rows} == {"a:on_dead", "a:on_failed"}
    seats = db.execute("select sum(taken) from pgqueue.seats").fetchone()
    assert seats == (0,)


def test_jobs_are_stored_only_for_known_hooks_and_not_for_a_lost_attempt(db):
    insert(db)
    hand = Hand(db, ["a"])
    [attempt] = hand.claim()
    dead = Outcome.dead("permanent_error", ValueError("no"))
    lost = Attempt(hand.id, [attempt.id, attempt.lease_id + 1, *attempt.row()[2:]])
    assert settle(db, hand, lost, dead, HOOKS) == []
    assert arguments_of_hooks(db) == {}
    settle(db, hand, attempt, dead, ["b:on_dead", "a:on_failed"])
    assert set(arguments_of_hooks(db)) == {"failed"}


def test_one_statement_stores_the_jobs_of_hooks_of_many_outcomes(db):
    for n in range(20):
        insert(db, args=f'{{"n": {n}}}', task="ab"[n % 2])
    hand = Hand(db, ["a", "b"])
    settled = [
        (attempt.id, attempt.lease_id, Outcome.dead("permanent_error", ValueError(str(attempt.id))))
        for attempt in hand.claim(20)
    ]
    run(db, statements.settle(hand.id, settled, ["a:on_dead", "b:on_dead", "a:on_failed"]))
    rows = db.execute(
        "select task, (args -> 'job' ->> 'id')::bigint, args ->> 'error' from pgqueue.jobs_live order by 2, 1"
    ).fetchall()
    names = {"a": ["a:on_dead", "a:on_failed"], "b": ["b:on_dead"]}
    dead = db.execute("select id, task from pgqueue.jobs_dead order by id").fetchall()
    assert rows == [(name, job_id, f"ValueError: {job_id}") for job_id, task in dead for name in names[task]]


def test_a_hooks_job_omits_the_original_arguments_if_they_are_too_long(db):
    large = secrets.token_hex(950_000)
    insert(db, args=f'{{"x": "{large}"}}')
    hand = Hand(db, ["a"])
    [attempt] = hand.claim()
    error = ValueError("y" * 3000)
    assert settle(db, hand, attempt, Outcome.dead("permanent_error", error), HOOKS)
    for args in arguments_of_hooks(db).values():
        assert job_told(args["job"]).args == {"x": large}
    db.execute("delete from pgqueue.jobs_live")
    insert(db, args=f'{{"x": "{large}", "y": "{large[:190_000]}"}}')
    [attempt] = hand.claim()
    assert settle(db, hand, attempt, Outcome.dead("permanent_error", error), HOOKS)
    assert len(arguments_of_hooks(db)) == 2
    for args in arguments_of_hooks(db).values():
        assert job_told(args["job"]).args == {}


# ---------------------------------------------------------------- outcomes that the leader writes


@pytest.mark.parametrize(
    ("columns", "events"),
    [
        ({}, {"stalled", "failed", "retry"}),
        ({"max_attempts": 1}, {"stalled", "failed", "dead"}),
        ({"crash_count": 2}, {"stalled", "failed", "dead"}),
        ({"cancel_requested": True}, {"stalled"}),
    ],
    ids=["retried", "attempts_exhausted", "crash_loop", "cancelled"],
)
def test_a_rescue_stores_a_job_for_each_hook_of_its_events(db, columns, events):
    job_id = insert(db)
    hand = Hand(db, ["a", *HOOKS])
    [attempt] = hand.claim()
    # Set after the claim, because a job that was asked to stop is not claimed.
    for column, value in columns.items():
        db.execute(f"update pgqueue.jobs_live set {column} = %s".encode(), [value])
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    [rescued] = run(db, statements.rescue(3, 10))
    found = arguments_of_hooks(db)
    assert set(found) == events
    for args in found.values():
        job = job_told(args["job"])
        assert (job.id, job.state) == (job_id, rescued.state)
        assert job.crash_count == columns.get("crash_count", attempt.crash_count) + 1
        assert "died or lost its lease" in args["error"] == job.last_error
    assert run(db, statements.rescue(3, 10)) == []


def test_a_rescue_stores_jobs_only_for_hooks_that_a_living_worker_knows(db):
    insert(db)
    Hand(db, ["a"]).claim()
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    Hand(db, ["a", "a:on_retry", "b:on_dead"], "other")
    run(db, statements.rescue(3, 10))
    assert set(arguments_of_hooks(db)) == {"retry"}


@pytest.mark.parametrize(
    ("columns", "reason", "events"),
    [
        ({"deadline_at": "2020-01-01 00:00+00"}, "deadline_exceeded", {"dead"}),
        ({"expires_at": "2020-01-01 00:00+00"}, "expired", set()),
        ({"cancel_requested": True}, "cancelled", set()),
    ],
    ids=["deadline", "expiry", "cancel"],
)
def test_an_overdue_job_that_becomes_dead_stores_a_job_for_its_hook_on_dead(db, columns, reason, events):
    """No attempt failed, so no other hook is called. A job of on_dead is stored only if a living worker knows this hook."""
    Hand(db, ["a", *HOOKS])
    insert(db, task="b", **columns)
    job_id = insert(db, args='{"n": 1}', concurrency_key="k", **columns)
    assert len(run(db, statements.finish_overdue(10))) == 2
    found = arguments_of_hooks(db)
    assert set(found) == events
    for args in found.values():
        job = job_told(args["job"])
        assert (job.id, job.state, job.args, job.concurrency_key) == (job_id, "dead", {"n": 1}, "k")
        assert job.finished_at is not None
        assert args["reason"] == reason
        assert (
            job.last_error
            == args["error"]
            == "DeadlineExceededError: PGQ-605  Its deadline passed while it waited."
        )
    db.execute("update pgqueue.workers set expires_at = now()")
    insert(db, **columns)
    run(db, statements.finish_overdue(10))
    assert set(arguments_of_hooks(db)) == events


# ---------------------------------------------------------------- job.transaction


def test_job_transaction_stores_the_job_of_the_hook_in_the_same_transaction(dsn, db):
    app = App(dsn)

    @app.task(name="a", on_completed=lambda job: None)
    def a() -> None: ...

    @app.task(name="plain")
    def plain() -> None: ...

    for task in ("a", "plain"):
        insert(db, task=task)
        [attempt] = Hand(db, [task]).claim()
        job: Job = attempt.job(AttemptLease(attempt, app))
        with pytest.raises(ZeroDivisionError), job.transaction():
            raise ZeroDivisionError
        assert arguments_of_hooks(db) == {}
        with job.transaction():
            pass
        assert set(arguments_of_hooks(db)) == ({"completed"} if task == "a" else set())
        db.execute("delete from pgqueue.jobs_live")
    app.close()
    assert db.execute("select task, state from pgqueue.jobs order by 1").fetchall() == [
        ("a", "completed"), ("plain", "completed"),
    ]  # fmt: skip


def test_a_worker_refuses_hooks_whose_names_are_too_long():
    app = App()
    app.on_completed(lambda job: None)
    app.task(name="x" * 115)(lambda: None)
    with pytest.raises(InvalidNameError, match="cannot name a task"):
        handlers(app)
    app = App()
    app.task(name="x" * 114, on_completed=lambda job: None)(lambda: None)
    assert len(handlers(app)) == 2
    with pytest.raises(InvalidNameError, match="keeps for itself"):
        app.task(name=f"{'x' * 114}:on_completed")(lambda: None)
