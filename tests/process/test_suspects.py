"""A job that kills its process makes no other job dead.

Suspects are the jobs that ran in a process when it crashed. After the first crash, each suspect runs in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from tests.apps import killer_tasks
from tests.process.worker_processes import QUICK, WorkerProcesses, unfinished
from tests.waiting import wait_until

SUSPECTS = ("-A", "tests.apps.killer_tasks:app")


def enqueued(dsn: str, jobs: list[tuple[str, dict[str, Any]]], **options: Any) -> list[int]:
    app = App(dsn)
    try:
        return [
            h.id
            for h in app.enqueue_many([getattr(killer_tasks, t).using(**options).job(**a) for t, a in jobs])
        ]
    finally:
        app.close()


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_only_jobs_that_kill_their_process_become_dead(
    workers: WorkerProcesses, watched: str, db: Connection[Any], tmp_path: Path, executor: str
) -> None:
    """The innocent jobs do not kill their process. They run until all deadly jobs are dead, so they are running at each crash.

    With one executor, each task kills in each way. With the others, each task kills in another way. Some of the innocent jobs have a key with a limit.
    """
    gate = tmp_path / "gate"
    deadly = [
        (task, {"n": n, "deadly": way})
        for n, way in enumerate(killer_tasks.WAYS)
        for number, task in enumerate(killer_tasks.TASKS)
        if executor == "process" or number % len(killer_tasks.WAYS) == n
    ]
    innocent = [(task, {"n": n, "gate": str(gate)}) for n in range(2) for task in killer_tasks.TASKS]
    keyed = [("threaded", {"n": n, "gate": str(gate)}) for n in range(2)]
    db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 1)")
    guilty = enqueued(watched, deadly)
    harmless = [*enqueued(watched, innocent), *enqueued(watched, keyed, concurrency_key="k")]
    workers.start(*SUSPECTS, *QUICK, "-c", "40", "--executor", executor, "--processes", "2")
    wait_until(
        lambda: (
            db.execute(
                "select count(*) from pgqueue.jobs where id = any(%s) and state = 'dead'", [guilty]
            ).fetchone()
            == (len(guilty),)
        ),
        timeout=120,
    )
    gate.touch()
    wait_until(lambda: unfinished(db) == 0, timeout=120)
    ends = db.execute(
        "select j.state, t.reason, count(*) from pgqueue.jobs j join pgqueue.transitions t on t.job_id = j.id and t.to_state = 'dead'"
        " where j.id = any(%s) group by 1, 2", [guilty],
    ).fetchall()  # fmt: skip
    assert ends == [("dead", "crash_loop", len(guilty))]
    found = db.execute("select state, max(crash_count) from pgqueue.jobs where id = any(%s) group by 1", [harmless]).fetchall()  # fmt: skip
    assert [state for state, _ in found] == ["completed"]
    assert found[0][1] < 3
