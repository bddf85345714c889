"""Fixtures that several files of stage tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Task
from pgqueue.model import members
from pgqueue.sql import grants
from tests import batches, workflows
from tests.apps import batch_tasks, workflow_tasks
from tests.stages.all_ways_to_enqueue import EURO
from tests.worker_by_hand import Hand, LimitedHand


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    """Returns a stand-in for a worker with the task ``t``. A test calls its methods one by one."""
    return Hand(db, ["t"])


@pytest.fixture
def granted(role: Callable[..., str]) -> Callable[..., str]:
    """Returns a function that makes a role and returns its DSN. The role gets the grants of its kind. Some grants are printed as comments. The role also gets such a grant if its line contains a word of ``more``."""

    def make(kind: str, *more: str) -> str:
        lines = [
            line.removeprefix("-- ") if any(word in line for word in more) else line
            for line in grants(kind).splitlines()
        ]
        return role("\n".join(lines))

    return make


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


@pytest.fixture
def effects(db: Connection[Any]) -> None:
    """Creates a table of the user, to which handlers write."""
    db.execute("create table public.effects (n int primary key, note text)")


@pytest.fixture
def consistent_workflows(db: Connection[Any]) -> Iterator[None]:
    """After the test, the rows of workflows and jobs agree."""
    yield
    assert workflows.violations(db) == {}


@pytest.fixture
def consistent_batches(db: Connection[Any]) -> Iterator[None]:
    """After the test, the rows of batches and jobs agree."""
    yield
    assert batches.violations(db) == {}


def on_database(app: App, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app, which uses this database until the test ends, also in child processes."""
    monkeypatch.setattr(app, "_dsn", dsn)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    yield app
    app.close()


@pytest.fixture
def workflow_app(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app of tests/apps/workflow_tasks.py, on the test's database."""
    yield from on_database(workflow_tasks.app, dsn, monkeypatch)


@pytest.fixture
def batch_app(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app of tests/apps/batch_tasks.py, on the test's database."""
    yield from on_database(batch_tasks.app, dsn, monkeypatch)


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the slices of a batch small, so that few jobs need several transactions."""
    monkeypatch.setattr(members, "JOBS_AT_ONCE", 30)
