"""A person runs failed children again, as the error of their parent says, while a worker leads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.apps import gathering_tasks
from tests.apps.gathering_tasks import app
from tests.command_line import Done
from tests.factories import look
from tests.process import killed_workers
from tests.waiting import wait_until


def test_the_command_in_the_error_of_a_parent_runs_its_children_again_and_then_the_parent(
    tmp_path: Path,
    dsn: str,
    db: Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    pgq: Callable[..., Done],
) -> None:
    with killed_workers.checked(app, tmp_path, dsn, monkeypatch) as path:
        job_id = app.tasks["gathering_mended"].enqueue(numbers=[1, 2]).id
        worker = killed_workers.worker(gathering_tasks.PATH, 4)
        try:
            # When the leader has seen that the parent is dead, it examines the children no more.
            wait_until(
                lambda: (
                    db.execute("select stopped_at from pgqueue.workflows").fetchone() not in (None, (None,))
                )
            )
            state, error = look(db, job_id, "state, last_error")
            assert state == "dead"
            Path(f"{path}.mended").touch()
            command = re.search(r"pgq (workflows retry \d+);", error)
            assert command
            assert "retried    3 nodes" in pgq(*command[1].split()).err
            wait_until(lambda: look(db, job_id, "state") == "completed")
        finally:
            worker.terminate()
            worker.wait(30)
        assert look(db, job_id, "result") == [1, 2]
        assert db.execute("select state, count(*) from pgqueue.workflow_nodes group by 1").fetchall() == [
            ("completed", 3)
        ]
