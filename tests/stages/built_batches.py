"""Makes batches in Python with the tasks of tests/apps/batch_tasks.py, and runs their members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.model.new_job import NewJob
from pgqueue.worker.worker import Worker
from tests.apps import batch_tasks as tasks

row, follow = tasks.row, tasks.follow
FOLLOWING = {
    "on_success": follow.job("success"),
    "on_failure": follow.job("failure"),
    "on_end": follow.job("end"),
}


def rows(count: int) -> Iterator[NewJob]:
    return (row.job(n) for n in range(count))


def drain(app: App, **settings: Any) -> None:
    """Runs a worker until no job is left. A job that is stored while the worker ends is left to another run."""
    for _ in range(3):
        Worker(
            app,
            WorkerSettings(queues={"default": None}, drain=True, poll=0.05, **settings),
            app_path=tasks.PATH,
        ).run()


def arguments(db: Connection[Any]) -> list[int]:
    found = db.execute(
        "select (args ->> 'n')::int from pgqueue.jobs where task = 'row' order by id"
    ).fetchall()
    return [number for (number,) in found]
