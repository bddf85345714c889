"""Fixtures of the process tests: a database whose jobs the checker records, and worker processes on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import checker
from tests.apps import workload
from tests.process.worker_processes import WorkerProcesses


@pytest.fixture
def watched(dsn: str) -> Iterator[str]:
    """Yields the DSN of a database in which every change of a job is recorded. After the test, the checker checks all invariants."""
    checker.install(dsn)
    yield dsn
    checker.check(dsn)


@pytest.fixture
def workers(watched: str, tmp_path: Path) -> Iterator[WorkerProcesses]:
    """Yields an object that starts worker processes on the watched database."""
    mailbox = {workload.MAILBOX: str(tmp_path / "mailbox")}
    with WorkerProcesses(watched, tmp_path, mailbox) as processes:
        yield processes
