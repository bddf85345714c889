"""Batches with real worker processes, of which some are killed. Each member counts once, and what follows the batch runs once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.runtime import origin
from tests import checker
from tests.apps import batch_tasks
from tests.apps.batch_tasks import crawl, follow, row
from tests.batches import counts, follow_ups, violations
from tests.process.worker_processes import QUICK, ROOT
from tests.waiting import wait_until
from tests.workflows import stop


@pytest.fixture
def app(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app of tests/apps/batch_tasks.py. At the end of the test, the checker checks all invariants."""
    monkeypatch.setattr(batch_tasks.app, "_dsn", dsn)
    monkeypatch.setattr(origin.handed, "dsn", None)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    checker.install(dsn)
    yield batch_tasks.app
    batch_tasks.app.close()
    checker.check(dsn)


def worker() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pgqueue", "work", "-A", batch_tasks.PATH, "-c", "4", *QUICK]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yields a list. The processes that a test puts into it are killed at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_batch_whose_workers_are_killed_counts_each_job_once_and_its_follow_ups_run_once(
    app: App, db: Connection[Any], workers: list[subprocess.Popen[bytes]]
) -> None:
    workers += [worker(), worker()]
    with app.batch(
        "import",
        at_once=6,
        on_success=follow.job("success"),
        on_failure=follow.job("failure"),
        on_end=follow.job("end"),
    ) as b:
        b.add(row.using(max_attempts=20).job(n) for n in range(600))
        b.add([crawl.using(max_attempts=20).job(4)])
        for victim in range(2):
            wait_until(lambda victim=victim: b.handle.progress().completed > 100 * (victim + 1), 60)
            workers[victim].send_signal(signal.SIGKILL)
            workers.append(worker())
    ended = b.handle.join("120s")
    assert ended.state == "completed"
    assert counts(db, b.handle.id) == (631, 0, 631, 0)
    assert follow_ups(db, b.handle.id) == ["on_success", "on_end"]
    unfinished = "select from pgqueue.jobs_live where task = 'follow'"
    wait_until(lambda: not db.execute(unfinished).fetchall(), 60)
    completed = db.execute(
        "select args ->> 'word', state from pgqueue.jobs where task = 'follow' order by id"
    )
    assert completed.fetchall() == [("success", "completed"), ("end", "completed")]
    for process in workers:
        process.terminate()
        process.wait(20)
    assert violations(db) == {}


KILLED = """
import os, sys
from tests.apps.batch_tasks import app, row

def stream():
    yield from (row.job(n) for n in range(10_500))
    os.kill(os.getpid(), 9)

with app.batch("import", key="k") as b:
    b.add(stream())
"""


def test_a_program_that_is_killed_while_it_fills_a_batch_leaves_whole_parts_and_an_open_batch(
    app: App, db: Connection[Any]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    [(batch,)] = db.execute("select id from pgqueue.workflows")
    assert app.batch_handle(batch).state() == "open"
    assert counts(db, batch) == (10_000, 10_000, 0, 0)
    with app.batch("import", key="k") as again:
        assert again.add([row.job(1)]) == 0
    assert app.batch_handle(batch).cancel() == "requested"
    stop(db)
    assert app.batch_handle(batch).state() == "cancelled"
