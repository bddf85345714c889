"""Fixtures that several files of stage tests share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Task
from tests.stages.all_ways_to_enqueue import EURO
from tests.worker_by_hand import Hand, LimitedHand


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    """Returns a stand-in for a worker with the task ``t``. A test calls its methods one by one."""
    return Hand(db, ["t"])


@pytest.fixture
def player(db: Connection[Any]) -> LimitedHand:
    """Returns a stand-in for a worker with the tasks ``t`` and ``u``. It claims by turns and within limits."""
    return LimitedHand(db, ["t", "u"])


@pytest.fixture
def refresh(app: App) -> Task[..., Any]:
    """Returns a task for the tests of keys."""

    @app.task(name="refresh")
    def refresh(account: int, note: str = "") -> None: ...

    return refresh


@pytest.fixture
def note(app: App) -> Task[..., Any]:
    """Returns a task with a text and a time as arguments. ``all_ways_to_enqueue`` enqueues this task."""

    @app.task(name="note")
    def note(text: str, at: datetime | None = None) -> None: ...

    return note


@pytest.fixture
def done(note: Task[..., Any], db: Connection[Any]) -> int:
    """Returns the id of a completed job, which has a result and an idempotency key."""
    handle = note.using(idempotency_key="done").enqueue(EURO)
    db.execute(
        "with gone as (delete from pgqueue.jobs_live returning id, task, args) insert into pgqueue.jobs_done"
        " (id, task, args, queue, state, run_at, created_at, finished_at, attempt, result) select id, task, args, 'default',"
        " 'completed', now(), now(), now(), 1, to_jsonb('€'::text) from gone"
    )
    return handle.id


@pytest.fixture
def ok(app: App) -> App:
    """Returns an app with the task ``ok``."""

    @app.task(name="ok")
    async def ok() -> None: ...

    return app
