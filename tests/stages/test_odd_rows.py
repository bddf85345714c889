"""An INSERT in SQL can give any value to any column. Either the table refuses the value, or the row harms no other job.

Rows that were stored before a check existed harm no other job either.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until

BOMB = '{"v": [' + ",".join(["1e131071"] * 500) + "]}"  # 8 kB as jsonb, and 65 MB as text
ZEROS = '{"v": [' + ",".join(["0e-16383"] * 500) + "]}"  # 8 MB as text
# For each column, values that the table refuses.
REFUSED = {
    "args": [BOMB, ZEROS, "[]", "1", "null"],
    "meta": [BOMB, ZEROS, "[]"],
    "trace_context": [BOMB, ZEROS],
    "progress": [BOMB, ZEROS],
    "attempt": [-1, 20_001, 32_767],
    "crash_count": [-1, 20_001, 32_767],
    "lease_id": [-1, 2**62 + 1, 2**63 - 1],
    "max_attempts": [-1, 0, 10_001, 32_767],
    "weight": [-1, 0, 10**9 + 1, 2**31 - 1],
    "timeout": ["0", "-1 s", "366 days"],
    "run_at": ["infinity", "-infinity", "1999-12-31", "3000-01-01"],
    "created_at": ["infinity", "-infinity", "1999-12-31", "3000-01-01"],
    "expires_at": ["infinity", "-infinity"],
    "deadline_at": ["infinity", "-infinity"],
    "queue": ["", "a b", "q" * 64],
    "task": ["", "a b", "t" * 128],
    "unique_key": ["", "k" * 256],
    "concurrency_key": ["", "k" * 256],
    "ordering": ["", "often"],
    "tags": [["t"] * 33, [None]],
    "state": ["running", "completed", "idle"],
}
# TAKEN contains rows with odd values that the table accepts. Normally only workers write most of these columns.
TAKEN = [
    {"id": -1}, {"id": 0}, {"id": 2**63 - 1}, {"id": -(2**63)}, {"attempt": 20_000}, {"attempt": 5}, {"crash_count": 20_000},
    {"lease_id": 2**62}, {"priority": -32_768}, {"priority": 32_767}, {"started_at": "infinity"}, {"started_at": "-infinity"},
    {"seats_taken": [1, 5]}, {"seats_taken": [0, -5]}, {"seats_taken": [2**31 - 1]}, {"seats_taken": [2**31 - 1, 2**31 - 1] * 2}, {"parked": True},
    {"parked": False}, {"cancel_requested": True}, {"last_error": "x" * 2_000_000}, {"last_traceback": "x" * 2_000_000},
    {"result": BOMB}, {"trace_context": "1"}, {"trace_context": "[]"}, {"progress": "1"}, {"progress": '{"at": 1}'},
    {"state": "waiting"}, {"state": "retrying"}, {"state": "running", "worker_id": 999}, {"state": "running", "worker_id": 2**63 - 1},
    {"state": "running", "worker_id": -1}, {"state": "running", "worker_id": 2}, {"state": "running", "worker_id": 0},
    {"state": "running", "worker_id": 998, "attempt": 20_000, "crash_count": 20_000},
    {"state": "running", "worker_id": 997, "seats_taken": [0, 2**31 - 1, 0, 2**31 - 1], "concurrency_key": "k"},
    {"timeout": "0.000001 s"}, {"timeout": "365 days"}, {"weight": 10**9, "concurrency_key": "k"},
    {"deadline_at": "2000-01-01"}, {"expires_at": "2000-01-01"}, {"expires_at": "2000-01-01", "cancel_requested": True},
    {"concurrency_key": "\x01ok"}, {"concurrency_key": "\U0010ffff" * 63}, {"ordering": "block"},
]  # fmt: skip


def insert(db: Connection[Any], task: str = "ok", **columns: Any) -> None:
    named = {"task": task, **columns}
    marks = ", ".join(["%s"] * len(named))
    db.execute(
        f"insert into pgqueue.jobs ({', '.join(named)}) values ({marks})".encode(), list(named.values())
    )


def work_until(app: App, done: Callable[[], bool]) -> None:
    """Runs a worker in this process until ``done()`` is true. Another thread calls ``done`` again and again. It ends the worker when the result is true, or after 25 s."""
    settings = WorkerSettings(queues={"default": None}, poll=0.1, heartbeat=0.3, lease=2.0, patience=0.5)

    def wait() -> None:
        try:
            wait_until(done, timeout=25)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait)
        Worker(app, settings).run()
        waiting.result()


@pytest.fixture
def ok(app: App) -> App:
    @app.task(name="ok")
    async def ok() -> None: ...

    return app


def test_a_value_out_of_bounds_is_refused_at_the_insert(db: Connection[Any]) -> None:
    accepted = []
    for column, value in [(column, value) for column, values in REFUSED.items() for value in values]:
        try:
            insert(db, **{"task": "ok", column: value})
        except (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation):
            continue
        accepted.append((column, f"{value!s:.20}"))
    assert accepted == []


def test_a_compressed_value_from_another_table_is_measured_without_compression(db: Connection[Any]) -> None:
    db.execute("create table bombs (args jsonb)")
    db.execute("insert into bombs values (%s)", [BOMB])
    assert db.execute("select pg_column_size(args) <= 240 from bombs").fetchone() == (True,)
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("insert into pgqueue.jobs (task, args) select 'ok', args from bombs")


def test_the_size_of_each_json_option_of_the_sql_api_is_checked(db: Connection[Any]) -> None:
    for options in ("args", "meta", "trace_context"):
        args, rest = (BOMB, "{}") if options == "args" else ("{}", f'{{"{options}": {BOMB}}}')
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute("select pgqueue.enqueue('ok', %s, %s)", [args, rest])
    db.execute("select pgqueue.enqueue('ok')")
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("select pgqueue.edit((select max(id) from pgqueue.jobs), %s)", [f'{{"args": {BOMB}}}'])


def test_odd_rows_of_every_kind_delay_no_other_job(db: Connection[Any], ok: App) -> None:
    for columns in TAKEN:
        insert(db, **columns)
    for number in range(20):
        insert(db, "ok", tags=["mine"], **({"concurrency_key": f"n{number}"} if number % 2 else {}))
    left = "select state, parked from pgqueue.jobs_live order by id"
    never = [("pending", False), ("waiting", None)]  # these two are never claimed, and delay no other job
    work_until(ok, lambda: db.execute(left).fetchall() == never)
    assert db.execute(
        "select state, count(*) from pgqueue.jobs where tags = '{mine}' group by 1"
    ).fetchall() == [("completed", 20)]
