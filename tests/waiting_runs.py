"""Runs the handlers of tests/apps/waiting_tasks.py in a worker of the test's own process, against the test's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import noted_runs
from tests.apps import waiting_tasks
from tests.apps.waiting_tasks import app


@contextmanager
def noted(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. In the block, their app uses this database."""
    with noted_runs.noted(app, tmp_path, dsn, monkeypatch) as path:
        yield path


def drain(executor: str = "thread", **settings: Any) -> None:
    """Runs all jobs that are due."""
    noted_runs.drain(app, waiting_tasks.PATH, executor, **settings)


def enqueue(task: str, /, **args: Any) -> int:
    return app.tasks[task].enqueue(**args).id
