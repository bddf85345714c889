"""Worker processes that handlers kill while they write notes (tests/apps/step_functions.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.runtime import origin
from tests import checker
from tests.noted_runs import noted
from tests.process.worker_processes import QUICK, ROOT


@contextmanager
def checked(app: App, tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields the path of the file with the notes of the handlers. At the end of the block, the checker checks all invariants."""
    with noted(app, tmp_path, dsn, monkeypatch) as path:
        monkeypatch.setattr(origin.handed, "dsn", None)
        monkeypatch.setenv("PGQUEUE_DSN", dsn)
        checker.install(dsn)
        yield path
    checker.check(dsn)


def worker(app_path: str, slots: int, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pgqueue", "work", "-A", app_path, "-c", str(slots), *QUICK, *options]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )


def expire(db: Connection[Any]) -> None:
    """Ends the lease of the worker that was killed, so that the next worker need not wait for its end."""
    db.execute(
        "update pgqueue.workers set expires_at = clock_timestamp() - interval '1 s' where state <> 'stopped'"
    )
