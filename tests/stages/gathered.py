"""Runs handlers that gather children (tests/apps/gathering_tasks.py), and reads what became of the children."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.model.outcome import Outcome
from tests import noted_runs
from tests.apps import gathering_tasks
from tests.apps.gathering_tasks import app
from tests.factories import look
from tests.worker_by_hand import Hand


def drain(executor: str = "thread", **settings: Any) -> None:
    """Runs all jobs that are due, and the jobs that follow them."""
    noted_runs.drain(app, gathering_tasks.PATH, executor, **settings)


def enqueue(task: str, /, **args: Any) -> int:
    return app.tasks[task].enqueue(**args).id


def work(db: Connection[Any], *job_ids: int, executor: str = "thread") -> None:
    """Runs workers until these jobs have ended."""
    for _ in range(10):
        drain(executor)
        if all(look(db, job_id, "finished_at is not null") is True for job_id in job_ids):
            return
    pytest.fail(f"not ended: {[look(db, job_id, 'state') for job_id in job_ids]}")


def children(db: Connection[Any], parent: int) -> list[tuple[Any, ...]]:
    return db.execute(
        "select w.kind, o.state, o.completed, o.dead, o.cancelled from pgqueue.workflows w"
        " join pgqueue.workflow_overview o using (id) where w.parent_job = %s order by w.id",
        [parent],
    ).fetchall()


def started(db: Connection[Any], job_id: int) -> list[int]:
    """Runs the parent until it waits, but none of its children. Returns the ids of the children."""
    db.execute(
        "create function public.hold() returns trigger language plpgsql as"
        " $$ begin if new.workflow_id is not null and new.state = 'pending' then new.run_at := now() + interval '1 day'; end if; return new; end $$"
    )
    db.execute(
        "create trigger hold before insert on pgqueue.jobs_live for each row execute function public.hold()"
    )
    drain()
    db.execute("drop trigger hold on pgqueue.jobs_live")
    db.execute("drop function public.hold()")
    assert look(db, job_id, "state") == "waiting"
    return [
        id_
        for (id_,) in db.execute(
            "select j.id from pgqueue.jobs_live j join pgqueue.workflows w on w.id = j.workflow_id"
            " where w.parent_job = %s order by 1",
            [job_id],
        )
    ]


def run_children_by_hand(db: Connection[Any], outcome: Outcome) -> None:
    db.execute("update pgqueue.jobs_live set run_at = now() where task = 'square'")
    hand = Hand(db, ["square"])
    for attempt in hand.claim():
        assert hand.settle(attempt, outcome)
