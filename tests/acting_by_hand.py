"""Operators' actions and undos by hand, for tests, with the person who acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import Who
from pgqueue.database.statements.actions import AuditRow
from pgqueue.model.outcome import Outcome
from pgqueue.ui.acting.operations import (
    Changed,
    Operation,
)
from pgqueue.ui.acting.performing import perform
from pgqueue.ui.acting.undoing import Undo
from tests.worker_by_hand import Hand

Connect = Callable[..., "Connection[Any]"]
ANN = Who("ann", "cli")
DEAD = Outcome.dead("permanent_error", ValueError("boom"))


def act(db: Connection[Any], name: Any, ids: list[int], **options: Any) -> dict[int | None, str]:
    """Does an action, and returns what it did with each job."""
    return {job: result for _, job, result in run(db, statements.act(name, ids, ANN, **options))}


def audit(db: Connection[Any], **which: Any) -> list[AuditRow]:
    return run(db, statements.list_audit(**which))


def undo(db: Connection[Any], audit_id: int | None = None) -> dict[int | None, str]:
    """Undoes an action, by default the last one, and returns what that did with each job."""
    chosen = audit_id or audit(db)[0].id
    return {job: result for part in perform(db, Undo(chosen, ANN)) for _, job, result in part}


def kill(db: Connection[Any], hand: Hand) -> list[int]:
    """Makes all due jobs dead, and returns their ids."""
    claimed = hand.claim(1000)
    assert all(hand.settle(attempt, DEAD) for attempt in claimed)
    return sorted(attempt.id for attempt in claimed)


def everything(db: Connection[Any], job_id: int) -> list[Any]:
    """Returns all that is stored about a job, as JSON."""
    return db.execute(
        "select to_jsonb(j) from pgqueue.jobs j where j.id = %(id)s"
        " union all select to_jsonb(t) from (select * from pgqueue.transitions where reason <> 'undone' order by at) t where t.job_id = %(id)s"
        " union all select to_jsonb(c) from pgqueue.checkpoints c where c.job_id = %(id)s"
        " union all select to_jsonb(s) - 'id' from pgqueue.signals s where s.job_id = %(id)s"
        " union all select to_jsonb(k) from pgqueue.idempotency_keys k where k.job_id = %(id)s",
        {"id": job_id},
    ).fetchall()


def perform_all(db: Connection[Any], operation: Operation) -> list[Changed]:
    return [one for part in perform(db, operation) for one in part]
