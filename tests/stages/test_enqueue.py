"""Enqueue: what is stored, and what a duplicate does."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgqueue import App


def test_a_job_is_stored_with_the_defaults_of_its_task(app: App, db: Connection[Any]) -> None:
    @app.task(name="greet", queue="mail", priority=5, retry=[1, 2], timeout="1m")
    def greet(name: str) -> None: ...

    handle = greet.enqueue("Ada")

    assert handle.created
    row = db.execute(
        "select state, queue, priority, max_attempts, extract(epoch from timeout)::int, args from pgqueue.jobs where id = %s",
        [handle.id],
    ).fetchone()
    assert row == ("pending", "mail", 5, 3, 60, {"name": "Ada"})
