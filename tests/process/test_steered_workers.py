"""``pgq workers``: people look into running workers, and ask them to be quiet or to stop. Workers answer through the database."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from tests.command_line import pgq
from tests.process.fleets import at_gates, gates, pids
from tests.process.test_health import BLOCKING, SILENT, enqueue
from tests.process.worker_processes import QUICK, WorkerProcesses, state_of
from tests.waiting import wait_until

OUR_WORDS = "select pg_advisory_lock_shared"


def stacks(workers: WorkerProcesses, folder: Path, *words: str) -> list[dict[str, Any]]:
    done = pgq("workers", "stacks", *words, "--json", "--timeout", "60", cwd=folder, dsn=workers.dsn)
    assert done.returncode == 0, done.stderr
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return items


@pytest.mark.parametrize("task", ["block", "wait"])
def test_the_stacks_show_each_job_beside_its_handler_even_if_the_loop_is_blocked(
    workers: WorkerProcesses, db: Connection[Any], tmp_path: Path, task: str
) -> None:
    with gates(workers.dsn, 1):
        _, worker_id = workers.start_registered(*BLOCKING, *QUICK, "--blocked", "0")
        job = enqueue(db, task, gate=1)
        wait_until(lambda: at_gates(db) == 1)
        [found] = stacks(workers, tmp_path, str(worker_id))
        assert found["worker_id"] == worker_id
        [beside] = [part for part in found["stacks"].split("\n\n") if OUR_WORDS in part] or [found["stacks"]]
        head = next(line for line in beside.splitlines() if f"job {job} ({task})" in line)
        assert head.startswith("thread MainThread  runs" if task == "block" else "task ")
        assert "pgqueue heartbeat" in found["stacks"]
        assert db.execute("select count(*) from pgqueue.audit").fetchone() == (0,)


def test_sigusr1_writes_the_stacks_to_stderr_while_the_loop_is_blocked(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    with gates(workers.dsn, 1):
        worker, _ = workers.start_registered(*BLOCKING, *QUICK, "--blocked", "0")
        job = enqueue(db, "block", gate=1)
        wait_until(lambda: at_gates(db) == 1)
        worker.signal(signal.SIGUSR1)
        wait_until(lambda: worker.lines(f"thread MainThread  runs job {job} (block)"))
    wait_until(lambda: state_of(db, job) == "completed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_quiet_worker_finishes_its_job_and_takes_no_other(
    workers: WorkerProcesses, db: Connection[Any], tmp_path: Path
) -> None:
    with gates(workers.dsn, 1):
        worker, worker_id = workers.start_registered(*BLOCKING, *QUICK)
        first = enqueue(db, "wait", gate=1)
        wait_until(lambda: at_gates(db) == 1)
        done = pgq("workers", "quiet", str(worker_id), cwd=tmp_path, dsn=workers.dsn)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: worker.lines("was asked to be quiet"))
        wait_until(lambda: db.execute("select state from pgqueue.workers").fetchone() == ("draining",))
        second = enqueue(db, "nothing")
    wait_until(lambda: state_of(db, first) == "completed")
    with workers_of(workers, tmp_path) as others:
        others.start(*BLOCKING, "--drain", *QUICK)
        wait_until(lambda: state_of(db, second) == "completed")
    assert db.execute(
        "select worker_id = %s from pgqueue.jobs where id = %s", [worker_id, second]
    ).fetchone() == (False,)
    assert worker.process.poll() is None
    shown = pgq("workers", "show", str(worker_id), "--json", cwd=tmp_path, dsn=workers.dsn)
    assert json.loads(shown.stdout)["jobs"] == []
    done = pgq("workers", "stop", str(worker_id), cwd=tmp_path, dsn=workers.dsn)
    assert done.returncode == 0, done.stderr
    assert worker.wait(timeout=60) == 0
    written = db.execute("select action, about, source from pgqueue.audit order by id").fetchall()
    assert written == [
        ("quiet", {"worker": str(worker_id)}, "cli"),
        ("stop", {"worker": str(worker_id)}, "cli"),
    ]


def workers_of(workers: WorkerProcesses, folder: Path) -> WorkerProcesses:
    (folder / "others").mkdir()
    return WorkerProcesses(workers.dsn, folder / "others", workers.environment)


def test_the_supervisor_replaces_a_process_that_was_asked_to_stop(
    workers: WorkerProcesses, db: Connection[Any], tmp_path: Path
) -> None:
    workers.start("--processes", "2", *SILENT, *QUICK)
    before = wait_until(lambda: pids(db) if len(pids(db)) == 2 else None) or set()
    [(worker_id, pid)] = db.execute(
        "select id, pid from pgqueue.workers where state = 'running' order by id limit 1"
    ).fetchall()
    assert pgq("workers", "stop", str(worker_id), cwd=tmp_path, dsn=workers.dsn).returncode == 0
    wait_until(lambda: len(pids(db)) == 2 and pid not in pids(db))
    assert pids(db) & before == before - {pid}


def test_a_request_is_found_without_a_notification(
    workers: WorkerProcesses, db: Connection[Any], tmp_path: Path
) -> None:
    _, worker_id = workers.start_registered(*SILENT, *QUICK, "--no-listen")
    assert "thread MainThread" in stacks(workers, tmp_path, "--all")[0]["stacks"]
    assert worker_id


def test_an_unknown_worker_and_an_unclear_choice_are_errors(workers: WorkerProcesses, tmp_path: Path) -> None:
    for words, code in (
        (("stop", "7"), 5),
        (("show", "7"), 5),
        (("quiet",), 2),
        (("stacks", "7", "--all"), 2),
    ):
        assert pgq("workers", *words, cwd=tmp_path, dsn=workers.dsn).returncode == code, words


def test_old_requests_are_purged_and_an_answer_is_cut_to_what_the_table_holds(db: Connection[Any]) -> None:
    db.execute("insert into pgqueue.worker_requests (worker_id, request) values (7, 'stacks')")
    [(request, _)] = run(db, statements.list_worker_requests(7))
    assert not run(db, statements.answer_request(8, request, "of another worker"))
    assert run(db, statements.answer_request(7, request, "€\0" * 200_000))
    assert run(db, statements.list_worker_requests(7)) == []
    [answer] = run(db, statements.read_answers([request]))
    assert set(answer.answer) == {"€"}
    assert run(db, statements.purge_requests(100)) == 0
    db.execute("update pgqueue.worker_requests set at = at - interval '61 minutes'")
    assert run(db, statements.purge_requests(100)) == 1
