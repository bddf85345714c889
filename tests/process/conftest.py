"""Process tests run on a database that the checker watches, and end with its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import checker
from tests.apps import workload
from tests.process.worker_processes import WorkerProcesses


@pytest.fixture
def watched(dsn: str) -> Iterator[str]:
    """The DSN of a database in which every change of a job is recorded, and checked at the end of the test."""
    checker.install(dsn)
    yield dsn
    checker.check(dsn)


@pytest.fixture
def workers(watched: str, tmp_path: Path) -> Iterator[WorkerProcesses]:
    """Worker processes on the watched database."""
    mailbox = {workload.MAILBOX: str(tmp_path / "mailbox")}
    with WorkerProcesses(watched, tmp_path, mailbox) as processes:
        yield processes
