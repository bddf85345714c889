"""Starts several worker processes under one supervisor. Also has gates: a gate is an advisory lock, for which handlers wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from tests.process.worker_processes import WorkerProcess, WorkerProcesses
from tests.waiting import STARTS, wait_until


def pids(db: Connection[Any]) -> set[int]:
    rows = db.execute(
        "select pid from pgqueue.workers where state = 'running' and expires_at > clock_timestamp()"
    )
    return {pid for (pid,) in rows}


def listening(db: Connection[Any]) -> list[str]:
    """Returns the last statement of each listener's connection. After the listener has tested itself, this statement contains pg_notify."""
    rows = db.execute(
        "select query from pg_stat_activity"
        " where datname = current_database() and application_name = 'pgqueue listen'"
    )
    return [query for (query,) in rows]


def start(workers: WorkerProcesses, db: Connection[Any], count: int, *options: str) -> WorkerProcess:
    """Starts a supervisor, and waits until its workers are registered and its listener has tested itself."""
    worker = workers.start("--processes", str(count), *options)
    wait_until(lambda: len(pids(db)) == count, STARTS)
    wait_until(lambda: any("pg_notify" in query for query in listening(db)), STARTS)
    return worker


@contextmanager
def gates(dsn: str, count: int) -> Iterator[None]:
    """Keeps the gates 1 to ``count`` closed until the block ends."""
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(n) from generate_series(1, %s) n", [count])
        yield


def at_gates(db: Connection[Any]) -> int:
    row = db.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    ).fetchone()
    return row[0] if row else 0
