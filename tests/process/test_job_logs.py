"""The log lines of a worker and of its handlers, as a program reads them: one JSON object a line, with the job in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests.command_line import pgq

APP = """
import asyncio, logging, threading
from contextvars import copy_context
from typing_extensions import TypedDict
from pgqueue import App, current_job

app = App()
log = logging.getLogger("shop")

@app.task(name="on_loop")
async def on_loop(n: int) -> None:
    log.warning("before %d", n)
    await asyncio.sleep(0)
    await asyncio.to_thread(log.warning, "to_thread")
    log.warning("after %s", current_job().task)

@app.task(name="on_thread")
def on_thread() -> None:
    log.warning("here")
    thread = threading.Thread(target=copy_context().run, args=[log.warning, "own thread"])
    thread.start()
    thread.join()

@app.task(name="in_child", executor="process")
def in_child() -> None:
    log.warning("child\\nERROR forged")

class Item(TypedDict):
    n: int

@app.task(name="chunked", chunk=10)
async def chunked(items: list[Item]) -> None:
    log.warning("%d items", len(items))

@app.task(name="broken", retry=False)
def broken() -> None:
    raise ValueError("two\\nlines")

@app.middleware
def noting(call):
    log.warning("middleware")
    yield
"""


@pytest.fixture
def said(dsn: str, db: Connection[Any], tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "mine.py").write_text(APP)
    for task, args in (
        ("on_loop", {"n": 1}),
        ("on_loop", {"n": 2}),
        ("on_thread", {}),
        ("in_child", {}),
        ("broken", {}),
    ):
        db.execute("select pgqueue.enqueue(%s, %s, '{\"max_attempts\": 1}')", [task, json.dumps(args)])
    db.execute("select pgqueue.enqueue('chunked', jsonb_build_object('n', n)) from generate_series(1, 3) n")
    done = pgq(
        "work",
        "-A",
        "mine:app",
        "--drain",
        "--log-jobs",
        cwd=tmp_path,
        dsn=dsn,
        env={"PGQUEUE_LOG_FORMAT": "json"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_each_line_of_a_handler_has_its_job_in_every_executor(
    said: list[dict[str, Any]], db: Connection[Any]
) -> None:
    tasks = dict(db.execute("select id, task from pgqueue.jobs").fetchall())
    [worker_id] = {line["worker_id"] for line in said if line.get("event") == "worker.started"}
    lines = [line for line in said if line["logger"] == "shop"]
    assert all(line["worker_id"] == worker_id for line in lines)
    single = sorted(
        (tasks[line["job_id"]], line["message"], line["attempt"]) for line in lines if "job_id" in line
    )
    assert [line for line in single if line[1] != "middleware"] == [
        ("in_child", "child\nERROR forged", 1), ("on_loop", "after on_loop", 1), ("on_loop", "after on_loop", 1),
        ("on_loop", "before 1", 1), ("on_loop", "before 2", 1), ("on_loop", "to_thread", 1), ("on_loop", "to_thread", 1),
        ("on_thread", "here", 1), ("on_thread", "own thread", 1),
    ]  # fmt: skip
    assert len([line for line in single if line[1] == "middleware"]) == len(tasks), (
        "middleware runs for each job alone"
    )
    together = [line for line in lines if "job_id" not in line]
    assert {job_id for line in together for job_id in line.get("job_ids", [])} <= {
        job_id for job_id, task in tasks.items() if task == "chunked"
    }
    assert sum(int(line["message"].split()[0]) for line in together) in (0, 2, 3)


def test_each_event_of_a_worker_is_one_line_with_its_name_and_fields(
    said: list[dict[str, Any]], db: Connection[Any]
) -> None:
    events = [line.get("event") for line in said]
    assert {"worker.started", "job.completed", "job.dead", "worker.stopped"} <= set(events)
    [dead] = [line for line in said if line.get("event") == "job.dead"]
    [(job_id,)] = db.execute("select id from pgqueue.jobs_dead").fetchall()
    expected = {
        "level": "error", "logger": "pgqueue", "job_id": job_id, "task": "broken", "queue": "default", "attempt": 1, "max_attempts": 1,
        "reason": "attempts_exhausted", "error": r"ValueError: two\nlines", "error_type": "ValueError",
    }  # fmt: skip
    assert expected.items() <= dead.items()
    assert isinstance(dead["seconds"], float)


def test_a_format_that_is_unknown_is_refused(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP)
    done = pgq("work", "-A", "mine:app", "--drain", cwd=tmp_path, dsn=dsn, env={"PGQUEUE_LOG_FORMAT": "jsn"})
    assert done.returncode == 2
    assert "PGQUEUE_LOG_FORMAT is 'jsn'" in done.stderr
