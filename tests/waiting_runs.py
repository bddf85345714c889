"""Runs the handlers of tests/apps/waiting_tasks.py in a worker of the test's own process, against the test's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgqueue.config import WorkerSettings
from pgqueue.runtime import origin
from pgqueue.worker.worker import Worker
from tests.apps import waiting_tasks
from tests.apps.step_functions import NOTES
from tests.apps.waiting_tasks import app


@contextmanager
def noted(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. In the block, their app uses this database."""
    path = tmp_path / "notes"
    monkeypatch.setenv(NOTES, str(path))
    monkeypatch.setattr(app, "_dsn", dsn)
    monkeypatch.setattr(origin.handed, "dsn", dsn)
    yield path
    app.close()


def drain(executor: str = "thread", **settings: Any) -> None:
    """Runs all jobs that are due."""
    settings = {"queues": {"default": None}, "drain": True, "poll": 0.1, "executor": executor, **settings}
    Worker(app, WorkerSettings(**settings), app_path=waiting_tasks.PATH).run()


def enqueue(task: str, /, **args: Any) -> int:
    return app.tasks[task].enqueue(**args).id
