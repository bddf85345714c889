"""A deploy of another version of a task, while jobs with checkpoints of the earlier version are under way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests import checker
from tests.apps import versioned_tasks
from tests.apps.step_functions import NOTES, notes
from tests.factories import enqueue, look
from tests.process.worker_processes import QUICK, ROOT
from tests.waiting import wait_until

Deploy = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path, dsn: str) -> Iterator[Path]:
    checker.install(dsn)
    yield tmp_path / "notes"
    checker.check(dsn)


@pytest.fixture
def deploy(path: Path, dsn: str) -> Deploy:
    """Starts a worker of a version for the time of a ``with`` block."""

    @contextmanager
    def started(version: str, accepts: str = "", executor: str = "thread") -> Iterator[None]:
        environment = {
            NOTES: str(path), "PGQUEUE_DSN": dsn, "PYTHONPATH": str(ROOT), versioned_tasks.VERSION: version,
            versioned_tasks.ACCEPTS: accepts,
        }  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "pgqueue",
            "work",
            "-A",
            versioned_tasks.PATH,
            *QUICK,
            "--executor",
            executor,
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(20) == 0

    return started


def begin(db: Connection[Any], deploy: Deploy, executor: str, **args: Any) -> int:
    """Returns a due job whose first attempt failed in version 3, after its step."""
    job_id = enqueue(db, "order", args)
    with deploy("3", executor=executor):
        wait_until(lambda: look(db, job_id) == "retrying")
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    return job_id


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_job_waits_for_a_worker_that_accepts_its_version_and_then_goes_on(
    db: Connection[Any], deploy: Deploy, path: Path, pgq: Any, executor: str
) -> None:
    job_id = begin(db, deploy, executor)
    with deploy("4", executor=executor):
        wait_until(lambda: "unaccepted_version" in pgq("why", str(job_id), "--json").out)
        said = pgq("doctor")
        assert said.code == 7
        words = " ".join(said.out.split())
        assert "its checkpoints are of version 3, and no living worker accepts it" in words
        assert "start a worker whose task order accepts 3" in words
        assert "of version 3" in " ".join(pgq("queues", "list").err.split())
        assert "build 4" in pgq("workers", "list").out
        [worker] = pgq("workers", "list", "--json").items
        assert (worker["app_version"], worker["accepts"]) == ("build 4", ["order@4"])
        assert look(db, job_id, "state, attempt, version") == ("retrying", 1, 3)
    with deploy("4", "3,4", executor):
        wait_until(lambda: look(db, job_id) == "completed")
    assert notes(path) == [
        ["pays", 0], ["paid by", "3", "version of the job", None], ["paid by", "3", "version of the job", 3],
    ]  # fmt: skip
    assert look(db, job_id, "version") == 3


def test_a_step_that_no_longer_fits_names_both_versions_and_the_way_back(
    db: Connection[Any], deploy: Deploy, path: Path
) -> None:
    job_id = begin(db, deploy, "thread", by_version=True)
    with deploy("4", "3,4"):
        wait_until(lambda: look(db, job_id) == "dead")
    error = look(db, job_id, "last_error")
    assert "Step 'pay' of job" in error
    assert " by version 3 of task order, and this is version 4." in error
    assert (
        f"take 3 out of accepts, start a worker with the code of version 3, and: pgq jobs revive {job_id}"
        in error
    )
    assert f"pgq jobs forget-step {job_id} pay" in error
    db.execute("select pgqueue.forget_step(%s, 'pay'), pgqueue.revive(%s)", [job_id, job_id])
    with deploy("4"):
        wait_until(lambda: look(db, job_id) == "completed")
    assert look(db, job_id, "version") == 4
