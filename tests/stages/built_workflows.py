"""Builds workflows in Python from the tasks of tests/apps/workflow_tasks.py, and runs their nodes."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from pgqueue import App, WorkflowHandle
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker
from tests.apps import workflow_tasks as tasks
from tests.factories import look

number, add, sum_up = tasks.number, tasks.add, tasks.sum_up
collect, acollect = tasks.collect, tasks.acollect
NAMES = ["number", "add", "sum_up", "collect", "acollect"]


def drain(app: App, executor: Any = "thread") -> None:
    """Runs a worker until no job is left. A node that is released while the worker ends is left to another run."""
    for _ in range(6):
        settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.05, executor=executor)
        Worker(app, settings, app_path=tasks.PATH).run()
        with app.connection() as connection:
            if not connection.execute("select count(*) from pgqueue.jobs_live").fetchall()[0][0]:
                return


def result(db: Connection[Any], handle: WorkflowHandle, name: str) -> Any:
    return look(db, handle.job(name).id, "result")
