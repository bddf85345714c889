"""Behind a pooler in transaction mode: an app that enqueues leaves nothing in the sessions, and a worker refuses to start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.errors import InvalidSettingError
from pgqueue.worker.worker import Worker
from tests.pooler import transaction_pooler

MANY = 12  # more than six, because psycopg prepares a statement at its sixth use


@pytest.fixture
def pooled(dsn: str) -> Iterator[str]:
    with transaction_pooler(dsn) as pooled:
        yield pooled


def left_behind(pooled: str) -> list[str]:
    """Returns the settings and prepared statements that a new client finds in its session, because former clients left them there."""
    with psycopg.connect(pooled) as connection:
        rows = connection.execute(
            "select name from pg_settings where source = 'session'"
            " union all select name from pg_prepared_statements"
        )
        return [name for (name,) in rows]


def app_with_a_task(dsn: str) -> App:
    app = App(dsn)
    app.task(name="t")(lambda: None)
    return app


def test_a_worker_refuses_a_pooler_and_leaves_nothing_in_the_sessions_of_the_pooler(pooled: str) -> None:
    with pytest.raises(InvalidSettingError, match="pooler in transaction mode"):
        Worker(app_with_a_task(pooled), WorkerSettings(queues={"default": None})).run()
    assert left_behind(pooled) == []


def test_two_apps_enqueue_through_one_pooler_and_do_not_disturb_each_other(
    db: Connection[Any], pooled: str
) -> None:
    apps = [app_with_a_task(pooled), app_with_a_task(pooled)]
    for _ in range(MANY):
        for app in apps:
            app.tasks["t"].enqueue()

    async def enqueue_many(app: App) -> None:
        for _ in range(MANY):
            await app.tasks["t"].aenqueue()
        await app.aclose()

    for app in apps:
        asyncio.run(enqueue_many(app))
        app.close()
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (4 * MANY,)
    assert left_behind(pooled) == []
