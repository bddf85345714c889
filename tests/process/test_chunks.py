"""Chunks in two worker processes. If one job of a chunk is cancelled or its time is up, the other jobs go on. Killed workers lose no job."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.apps import chunked_tasks, hooked_tasks
from tests.process.test_events import read
from tests.process.worker_processes import QUICK, WorkerProcesses, unfinished
from tests.waiting import wait_until

CHUNKY = ("-A", "tests.apps.chunked_tasks:app")
EXECUTORS = ["async", "thread", "process"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def workers(dsn: str, tmp_path: Path, notes: Path) -> Iterator[WorkerProcesses]:
    with WorkerProcesses(dsn, tmp_path, {hooked_tasks.NOTES: str(notes)}) as processes:
        yield processes


def rows(db: Connection[Any], sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    return db.execute(sql.encode(), parameters).fetchall()


def two_chunks(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, executor: str, **options: Any
) -> list[list[int]]:
    """Starts a chunk in each of two workers, and returns the job ids of each chunk. Every fourth job has these ``options``."""
    for _ in range(2):
        workers.start_registered(*CHUNKY, "-c", "4", "--poll", "0.2")
    task = getattr(chunked_tasks, f"chunky_{executor}")
    with db.transaction():
        for n in range(8):
            task.using(db, **(options if n % 4 == 0 else {})).enqueue()
    wait_until(lambda: sum(len(ids) - 1 for ids in read(notes, "chunk")) == 8)
    return [sorted(int(job_id) for job_id in ids) for _, *ids in read(notes, "chunk")]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_call_of_a_chunk_goes_on_when_one_of_its_jobs_is_cancelled(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, executor: str
) -> None:
    chunks = two_chunks(workers, db, notes, executor)
    cancelled = [random.choice(ids) for ids in chunks]
    others = {job_id for ids in chunks for job_id in ids} - set(cancelled)
    asked = {}
    for job_id in cancelled:
        [(said, at)] = rows(db, "select pgqueue.cancel(%s), clock_timestamp()", job_id)
        assert said == "requested"
        asked[job_id] = at

    def ended() -> list[tuple[Any, ...]]:
        return rows(
            db, "select id, state, finished_at, last_error from pgqueue.jobs where state <> 'running'"
        )

    wait_until(lambda: len(ended()) == len(cancelled))
    for job_id, state, finished_at, error in ended():
        assert (state, error) == ("cancelled", "cancelled on request")
        assert (finished_at - asked[job_id]).total_seconds() < 1.0
    wait_until(lambda: len(read(notes, "learned")) == len(cancelled))
    assert sorted(read(notes, "learned")) == sorted([str(job_id), "Cancel"] for job_id in cancelled)
    said = "select id, progress ->> 'message' from pgqueue.running where progress is not null"
    wait_until(lambda: {row[0] for row in rows(db, said)} == others)
    assert dict(rows(db, said)) == {job_id: f"job {job_id}" for job_id in others}

    Path(f"{notes}.go").touch()
    wait_until(lambda: not unfinished(db))
    found = {row[0]: row[1:] for row in rows(db, "select id, state, result from pgqueue.jobs")}
    assert found == {
        **{job_id: ("completed", job_id) for job_id in others},
        **dict.fromkeys(cancelled, ("cancelled", None)),
    }
    wait_until(lambda: len(read(notes, "saw")) == 8)
    saw = {int(job_id): what for job_id, what in read(notes, "saw")}
    assert saw == {**{job_id: str(job_id) for job_id in others}, **dict.fromkeys(cancelled, "Cancel")}
    assert len(read(notes, "chunk")) == len(chunks), "no handler was called again"


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("options", "error"),
    [({"deadline": 8}, "DeadlineExceededError"), ({"timeout": 1}, "JobTimeoutError")],
    ids=["deadline", "timeout"],
)
def test_the_call_of_a_chunk_goes_on_when_the_timeout_or_deadline_of_one_of_its_jobs_passes(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, executor: str, options: Any, error: str
) -> None:
    chunks = two_chunks(workers, db, notes, executor, **options)
    wait_until(lambda: len(rows(db, "select 1 from pgqueue.jobs_dead")) == 2)
    dead = {row[0]: row[1:] for row in rows(db, "select id, last_error from pgqueue.jobs_dead")}
    assert all(said.startswith(f"{error}: ") for (said,) in dead.values())
    wait_until(lambda: len(read(notes, "learned")) == 2)
    assert {(int(job_id), what) for job_id, what in read(notes, "learned")} == {(n, error) for n in dead}
    Path(f"{notes}.go").touch()
    wait_until(lambda: not unfinished(db))
    done = {row[0] for row in rows(db, "select id from pgqueue.jobs where state = 'completed'")}
    assert done == {job_id for ids in chunks for job_id in ids} - set(dead)
    wait_until(lambda: len(read(notes, "saw")) == 8)
    saw = {int(job_id): what for job_id, what in read(notes, "saw")}
    assert saw == {**{job_id: str(job_id) for job_id in done}, **dict.fromkeys(dead, error)}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_slots_of_a_chunk_are_free_again_when_all_its_jobs_are_cancelled(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, executor: str
) -> None:
    """On a thread the call itself goes on, because a thread cannot be stopped."""
    chunks = two_chunks(workers, db, notes, executor)
    rows(db, "select pgqueue.cancel(id) from pgqueue.running")
    wait_until(lambda: not unfinished(db))
    Path(f"{notes}.go").touch()
    with db.transaction():
        for _ in range(8):
            getattr(chunked_tasks, f"chunky_{executor}").using(db).enqueue()
    wait_until(lambda: not unfinished(db))
    states = rows(db, "select state, count(*) from pgqueue.jobs group by state order by state")
    assert states == [("cancelled", 8), ("completed", 8)]
    assert len(chunks) >= 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_job_of_a_chunk_gets_its_result_although_workers_are_killed(
    workers: WorkerProcesses, db: Connection[Any], notes: Path, executor: str
) -> None:
    task = getattr(chunked_tasks, f"sum_{executor}")
    sums = [(random.randrange(1000), random.randrange(1000)) for _ in range(300)]
    with db.transaction():
        handles = task.using(db, max_attempts=1000).enqueue_many([{"a": a, "b": b} for a, b in sums])
    options = (*CHUNKY, *QUICK, "-c", "10", "--crash-limit", "100")

    def settled() -> bool:
        living = [worker for worker in workers.all if worker.process.poll() is None]
        if (
            len(living) == 2
            and len(workers.all) < 6
            and len(read(notes, "did")) > 40 * (len(workers.all) - 1)
        ):
            random.choice(living).signal(signal.SIGKILL)
        if len(living) < 2:
            workers.start(*options)
        return not unfinished(db)

    wait_until(settled, timeout=60)
    assert len(workers.all) > 2, "no worker was killed"
    found = {row[0]: row[1:] for row in rows(db, "select id, state, result from pgqueue.jobs")}
    assert found == {handle.id: ("completed", a + b) for handle, (a, b) in zip(handles, sums, strict=True)}
    assert {int(job_id) for [job_id] in read(notes, "did")} == set(found)
