"""If the network goes silent, without FIN or RST, a worker loses at most its lease. Then it goes on, even if it is the only worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.apps import workload
from tests.apps.workload import running_at_gate
from tests.process.worker_processes import WorkerProcesses, enqueue, gate, state_of
from tests.proxy import Proxy, proxy_to
from tests.waiting import wait_until

SHORT = ("--lease", "3", "--heartbeat", "1", "--poll", "0.2")


@pytest.fixture
def proxy(workers: WorkerProcesses) -> Iterator[Proxy]:
    with proxy_to(workers.dsn) as proxy:
        yield proxy


def start(workers: WorkerProcesses, proxy: Proxy, db: Connection[Any], directory: Path) -> WorkerProcesses:
    """Starts a worker that reaches the database through the proxy. Returns the WorkerProcesses object that has started this worker."""
    behind = WorkerProcesses(proxy.dsn, directory)
    worker = behind.start(*SHORT)
    wait_until(lambda: worker.id(db), 60)
    return behind


@pytest.mark.parametrize(
    "name", ["pgqueue claim", "pgqueue settle", "pgqueue heartbeat", "pgqueue listen", ""]
)
def test_a_single_worker_completes_its_jobs_when_one_of_its_connections_goes_silent(
    workers: WorkerProcesses, proxy: Proxy, db: Connection[Any], tmp_path: Path, name: str
) -> None:
    with start(workers, proxy, db, tmp_path) as behind:
        first = enqueue(db, "move_async", 1, ms=1)
        wait_until(lambda: state_of(db, first) == "completed", 60)
        with db.transaction():
            second = workload.nap.using(db).enqueue(ms=500).id
        wait_until(lambda: state_of(db, second) in ("running", "completed"), 60)
        proxy.silent = name
        third = enqueue(db, "move_async", 3, ms=1)
        for job in (second, third):
            wait_until(lambda job=job: state_of(db, job) == "completed", 90)
        assert not behind.all[0].lines("Traceback")


@pytest.mark.parametrize("task", ["hold_async", "hold_thread", "hold_process"])
def test_a_worker_whose_heartbeats_get_no_answer_stops_its_handlers_and_registers_again(
    workers: WorkerProcesses, proxy: Proxy, db: Connection[Any], tmp_path: Path, task: str
) -> None:
    with start(workers, proxy, db, tmp_path) as behind:
        worker = behind.all[0]
        worker_id = worker.id(db)
        with gate(workers.dsn, 1):
            job = enqueue(db, task, 1, inside=False)
            wait_until(lambda: running_at_gate(db, 1), 60)
            proxy.silent, proxy.new_too = "pgqueue heartbeat", True
            wait_until(lambda: worker.lines("lost its lease and registers again; jobs given up: 1"), 60)
            wait_until(lambda: worker.id(db) not in (None, worker_id), 60)
        proxy.silent = None
        wait_until(lambda: state_of(db, job) == "completed", 90)
        assert not worker.lines("Traceback")
