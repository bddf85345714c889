"""Runs handlers that write notes (tests/apps/step_functions.py) in a worker of the test's own process, against the test's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.runtime import origin
from pgqueue.worker.worker import Worker
from tests.apps.step_functions import NOTES


@contextmanager
def noted(app: App, tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. In the block, their app uses this database, also in child processes."""
    path = tmp_path / "notes"
    monkeypatch.setenv(NOTES, str(path))
    monkeypatch.setattr(app, "_dsn", dsn)
    monkeypatch.setattr(origin.handed, "dsn", dsn)
    yield path
    app.close()


def drain(app: App, app_path: str, executor: str, **settings: Any) -> None:
    """Runs all jobs that are due."""
    settings = {"queues": {"default": None}, "drain": True, "poll": 0.1, "executor": executor, **settings}
    Worker(app, WorkerSettings(**settings), app_path=app_path).run()
