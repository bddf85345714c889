"""What operators do with queues, limits, schedules, workflows, batches and alerts is in the audit, and can be undone."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace
from inspect import signature
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import Who
from pgqueue.errors import InvalidOptionError
from pgqueue.model.schedule import Schedule
from pgqueue.ui.acting.acts import ACTS
from pgqueue.ui.acting.doing import set_setting
from pgqueue.ui.acting.form import Form
from pgqueue.ui.reading.audit import sentence
from tests import batches, workflows
from tests.acting_by_hand import ANN, audit, undo
from tests.factories import enqueue
from tests.package import MODULES
from tests.worker_by_hand import Hand

LIMIT: dict[str, Any] = {
    "queue": "mail", "task": None, "per_key": False, "key": None, "concurrency": 5, "rate": None, "period": None, "sliding": False,
    "burst": None, "share": None,
}  # fmt: skip


def paused(db: Connection[Any], table: str) -> Any:
    row = db.execute(f"select paused from pgqueue.{table} where name = 'mail'".encode()).fetchone()
    return row and row[0]


def test_a_pause_and_a_resume_of_a_queue_are_audited_and_undone(db: Connection[Any]) -> None:
    run(db, statements.pause_queue("mail", who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "queues") is False
    run(db, statements.pause_queue("mail", who=ANN))
    run(db, statements.resume_queue("mail", who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "queues") is True
    assert [row.action for row in audit(db)] == ["undo", "resume", "pause", "undo", "pause"]
    assert (audit(db)[1].about, audit(db)[1].before, audit(db)[1].after) == (
        {"queue": "mail"}, {"paused": True}, {"paused": False},
    )  # fmt: skip


def test_an_undo_leaves_a_queue_that_was_resumed_meanwhile(db: Connection[Any]) -> None:
    run(db, statements.pause_queue("mail", who=ANN))
    run(db, statements.resume_queue("mail"))
    assert undo(db) == {None: "moved on"}
    refused, paused = audit(db)
    assert (refused.undoes, refused.refused, sentence(refused)) == (
        paused.id, {"moved on": 1}, "nothing undone: 1 (it has moved on)",
    )  # fmt: skip
    assert paused.undo_until is not None
    assert undo(db, paused.id) == {None: "moved on"}


def test_changes_of_limits_are_undone(db: Connection[Any]) -> None:
    rows = "select concurrency, rate, extract(epoch from period)::int, burst from pgqueue.limits"
    number = run(db, statements.set_limit(**LIMIT, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == []
    number = run(db, statements.set_limit(**LIMIT, who=ANN))
    run(db, statements.set_limit(**{**LIMIT, "rate": 10, "period": 60.0, "burst": 3}, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == [(5, None, None, None)]
    run(db, statements.remove_limit(number, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == [(5, None, None, None)]


def test_what_is_done_with_schedules_is_audited(db: Connection[Any]) -> None:
    schedule = Schedule(name="mail", task="t", cron="0 2 * * *")
    run(db, statements.add_schedule(schedule, who=ANN))
    run(db, statements.pause_schedule("mail", True, who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "schedules") is False
    job = run(db, statements.run_schedule("mail", who=ANN))
    run(db, statements.edit_schedule(replace(schedule, cron="0 3 * * *"), who=ANN))
    run(db, statements.remove_schedule("mail", who=ANN))
    assert [row.action for row in reversed(audit(db))] == [
        "add_schedule", "pause_schedule", "undo", "run_schedule", "edit_schedule", "remove_schedule",
    ]  # fmt: skip
    assert [row.action for row in audit(db, job_id=job)] == ["run_schedule"]
    edited = audit(db)[1]
    assert (edited.before or {})["cron"] == "0 2 * * *"
    assert (edited.after or {})["cron"] == "0 3 * * *"
    with pytest.raises(InvalidOptionError, match="cannot be undone"):
        run(db, statements.undo(audit(db)[0].id, ANN))


def test_what_is_done_with_workflows_batches_alerts_signals_and_steps_is_audited(
    db: Connection[Any], hand: Hand
) -> None:
    flow = workflows.store(db, workflows.node("a"), workflows.node("b", "a"))
    batch = batches.store(db, 2)
    job = enqueue(db)
    [(alert,)] = db.execute(
        "insert into pgqueue.alerts (kind, subject, text) values ('late', 'mail', 'late') returning id"
    ).fetchall()
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'a', '7')",
        [job],
    )
    for statement in (
        statements.cancel_workflow(flow, who=ANN), statements.cancel_workflow(flow, who=ANN), statements.retry_workflow(flow, None, who=ANN),
        statements.cancel_workflow(batch, who=ANN), statements.retry_members(batch, 0, 10, who=ANN),
        statements.mute_alert(alert, 60.0, who=ANN), statements.resolve_alert(alert, who=ANN), statements.resolve_alert(alert, who=ANN),
        statements.signal(job, "go", '{"secret": "CANARY"}', who=ANN), statements.forget_step(job, "a", "", who=ANN),
        statements.remove_queue("default", who=ANN), statements.remove_queue("none", who=ANN),
    ):  # fmt: skip
        run(db, statement)
    db.execute("insert into pgqueue.queues (name) values ('mistyped')")
    run(db, statements.remove_queue("mistyped", who=ANN))
    assert [row.action for row in reversed(audit(db))] == [
        "cancel_workflow", "retry_workflow", "cancel_workflow", "retry_batch", "mute_alert", "resolve_alert", "signal",
        "forget_step", "remove_queue",
    ]  # fmt: skip
    assert "CANARY" not in str(audit(db))
    assert [row.action for row in audit(db, job_id=job)] == ["forget_step", "signal"]


def test_what_an_application_does_writes_no_audit(app: App, db: Connection[Any]) -> None:
    job = app.handle(enqueue(db))
    job.edit(priority=3)
    job.signal("go")
    job.cancel()
    job.revive()
    run(db, statements.pause_queue("mail"))
    assert audit(db) == []


@pytest.mark.parametrize("action", ["pause", "resolve_alert", "cancel_batch"])
def test_two_simultaneous_actions_of_one_person_each_find_their_own_row(
    action: str, db: Connection[Any], dsn: str
) -> None:
    field, values = {
        "pause": ("queue", ["mail", "shop"]),
        "resolve_alert": ("id", [str(alert) for (alert,) in db.execute(
            "insert into pgqueue.alerts (kind, subject, text) values ('late', 'a', 'late'), ('late', 'b', 'late') returning id")]),
        "cancel_batch": ("batch", [str(batches.store(db, 2)) for _ in range(2)]),
    }[action]  # fmt: skip
    ann = Who("ann", "web")

    async def one(value: str) -> int | None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await set_setting(
                connection, Form({"action": [action], field: [value]}), ACTS[action], ann
            )

    async def both() -> list[int | None]:
        return await asyncio.gather(*map(one, values))

    for value, row in zip(values, asyncio.run(both()), strict=True):
        [noted] = audit(db, audit_id=row)
        assert value in map(str, noted.about.values())


def test_a_change_of_nothing_has_no_row(db: Connection[Any], dsn: str) -> None:
    batch = batches.store(db, 2)
    ann = Who("ann", "web")

    async def twice() -> list[int | None]:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            form = Form({"action": ["cancel_batch"], "batch": [str(batch)]})
            return [await set_setting(connection, form, ACTS["cancel_batch"], ann) for _ in range(2)]

    done, again = asyncio.run(twice())
    assert done is not None
    assert again is None


def test_every_command_that_changes_something_says_who_acts() -> None:
    """Each call of a statement that takes ``who`` gives it, and no surface calls the SQL API of jobs directly."""
    takes_who = {
        name for name in statements.__all__ if "who" in signature(getattr(statements, name)).parameters
    }
    assert len(takes_who) > 20
    for module, tree in MODULES.items():
        if not module.startswith("ui/"):
            continue
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "statements":
                name = call.func.attr
                given = {keyword.arg for keyword in call.keywords}
                positional = {"act", "undo", "begin_operation", "end_operation", "note_import"}
                assert name not in takes_who - positional or "who" in given, (module, call.lineno, name)
                assert name not in {"cancel", "revive", "edit"}, (module, call.lineno, name)
