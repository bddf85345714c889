"""Processes that have run many jobs or grown large are replaced. A fleet (a supervisor and its workers) sends few statements to the server."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.dev import embedded
from tests.process.fleets import listening, pids, start
from tests.process.worker_processes import (
    WorkerProcesses,
    enqueue,
    state_of,
    unfinished,
)
from tests.servers import create_database, directory_for_servers
from tests.waiting import STARTS, wait_until

# ------------------------------------------------------------------ --max-jobs, --max-rss


def test_a_worker_without_a_supervisor_exits_when_it_has_run_max_jobs(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    for op in range(30):
        enqueue(db, "move_async", op, ms=20)
    worker = workers.start("-c", "2", "--max-jobs", "10")
    assert worker.wait() == 0
    assert worker.lines("has run 10 jobs (--max-jobs); it drains and exits")
    assert 10 <= 30 - unfinished(db) <= 12
    assert state_count(db, "running") == 0


def state_count(db: Connection[Any], state: str) -> int:
    row = db.execute("select count(*) from pgqueue.jobs where state = %s", [state]).fetchone()
    return row[0] if row else 0


def test_processes_that_have_run_max_jobs_are_replaced_one_at_a_time(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker = start(workers, db, 3, "-c", "2", "--max-jobs", "30", "--poll", "0.2")
    first = pids(db)
    with db.transaction():
        for op in range(400):
            enqueue(db, "move_async", op, ms=20)
    fewest = len(first)

    def is_done() -> bool:
        nonlocal fewest
        fewest = min(fewest, len(pids(db)))
        return not unfinished(db) and not first & pids(db) and len(pids(db)) == 3

    wait_until(is_done, timeout=60)
    assert fewest == 2
    limits = {
        int(n) for line in worker.lines("it will be drained") for n in re.findall(r"has run (\d+) jobs", line)
    }
    assert limits <= set(range(27, 34))
    assert not worker.lines("started again")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_process_that_uses_more_memory_than_max_rss_is_replaced(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker = start(workers, db, 2, "--max-rss", "200M")
    first = pids(db)
    enqueue(db, "hoard", 1, megabytes=220)
    wait_until(lambda: len(pids(db)) == 2 and len(first & pids(db)) == 1)
    [line] = worker.lines("it will be drained and replaced")
    assert re.search(r"uses \d{3} MB of memory, more than [12]\d\d MB \(--max-rss\)", line)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_max_rss_below_the_memory_that_the_app_needs_is_refused(workers: WorkerProcesses) -> None:
    worker = workers.start("--max-rss", "16M")
    assert worker.wait() == 2
    assert worker.lines("--max-rss 16M leaves no room for jobs")


# ------------------------------------------------------------------ statements and connections of a fleet


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory / "server"


def test_a_fleet_sends_few_statements_while_it_is_idle_and_few_for_a_new_job(
    home: Path, tmp_path: Path
) -> None:
    """An idle fleet polls, sends heartbeats, and asks who leads. For a new job, only one of the four processes sends a claim."""
    settings = {"fsync": "off", "autovacuum": "off", "shared_preload_libraries": "pg_stat_statements"}
    server = embedded.start(home, settings=settings)
    try:
        dsn = create_database(server.dsn, "here")
        migrate.upgrade(dsn)
        with WorkerProcesses(dsn, tmp_path) as workers, psycopg.connect(dsn, autocommit=True) as db:
            db.execute("create extension pg_stat_statements")
            start(workers, db, 4, "--heartbeat", "1")
            # By then, the workers have sent the statements that they send only at their start.
            heartbeats_later(db, 3)
            db.execute("select pg_stat_statements_reset()")
            seconds = heartbeats_later(db, 10)
            counts = {
                name: calls(db, beginning) / seconds
                for name, beginning in (
                    ("poll", "with in_turns"), ("watch", "with recursive lanes"), ("heartbeat", "update pgqueue.workers w\nset heartbeat_at"), ("elect", "with now_leading"),
                    ("rescue", "with expired"), ("claim", "with found"), ("all", ""),
                )
            }  # fmt: skip
            print(f"statements a second, 4 idle workers, heartbeat 1 s: {counts}")
            # A count of 0 says that the text of a statement has changed, so the check would see nothing.
            assert all(counts[name] > 0 for name in ("poll", "watch", "heartbeat", "elect", "rescue"))
            assert counts["poll"] < 4 * 1.2
            # This is the leader's query about queues. The leader has other queries about dead jobs and about open alerts.
            assert counts["watch"] < 1.2
            assert counts["heartbeat"] < 4 * 1.2
            # The leader asks at each heartbeat, and the other workers ask when the leader's term ends.
            assert counts["elect"] < 1.2 + 3 * 0.5
            assert counts["rescue"] < 1.2
            assert counts["claim"] == 0
            assert counts["all"] < 4 * 1.2 * 2 + 1.2 * 2 + 3 * 0.5 + 0.5 + 1.2 * 3

            before, begun = calls(db, "with found"), time.monotonic()
            for op in range(20):
                job_id = enqueue_alone(db, op)
                wait_until(lambda job_id=job_id: state_of(db, job_id) == "completed")  # type: ignore[misc]
            claims = calls(db, "with found") - before
            assert claims >= 20
            print(f"{claims} claims for 20 jobs, 4 workers")
            # If a poll sees a job before it is claimed, the polling worker sends a claim, too.
            polls = 4 * 1.2 * (1 + time.monotonic() - begun)
            # For each job, one claim takes it, and another claim finds no job.
            assert claims <= 20 * 2 + polls
    finally:
        server.stop()


def heartbeats_later(db: Connection[Any], seconds: float) -> float:
    """Waits until every worker has sent a heartbeat at least ``seconds`` after this call. Returns the seconds that passed."""
    with db.cursor() as cursor:
        [begun] = cursor.execute("select clock_timestamp()").fetchone() or [None]
        wait_until(
            lambda: (
                cursor.execute(
                    "select min(heartbeat_at) > %s + make_interval(secs => %s) from pgqueue.workers where state = 'running'",
                    [begun, seconds],
                ).fetchone()
                == (True,)
            ),
            timeout=seconds + 20,
        )
        [ended] = cursor.execute(
            "select extract(epoch from clock_timestamp() - %s)::float8", [begun]
        ).fetchone() or [0]
    return float(ended)


def calls(db: Connection[Any], beginning: str) -> int:
    """Returns how often statements that begin with ``beginning`` were run.

    The test's own statements, which begin with select, do not count. SET does not count either: a session sends all its SETs in one
    message.
    """
    row = db.execute(
        "select coalesce(sum(calls), 0)::int from pg_stat_statements"
        " where query like %s and query !~* '^(set |select (coalesce|min|extract|clock_timestamp|pg_stat))'",
        [beginning + "%"],
    ).fetchone()
    return row[0] if row else 0


def enqueue_alone(db: Connection[Any], op: int) -> int:
    row = db.execute(
        "select id from pgqueue.enqueue('nothing', jsonb_build_object('op', %s::int), '{}')", [op]
    ).fetchone()
    assert row is not None
    return int(row[0])


def connections_received(log: Path, after: int) -> list[float]:
    """Returns the times, in seconds, of the requests for a connection in the server's log, without its first ``after`` bytes."""
    lines = log.read_bytes()[after:].decode(errors="replace").splitlines()
    return sorted(
        datetime.fromisoformat(line[:23]).timestamp() for line in lines if "connection received" in line
    )


def test_the_workers_of_a_fleet_do_not_all_connect_at_the_same_moment_after_a_restart(
    home: Path, tmp_path: Path
) -> None:
    """Eight workers have about thirty connections. The test counts the requests for a connection in the server's log.

    This log also contains the requests that were refused.
    """
    settings = {"fsync": "off", "log_connections": "on", "log_line_prefix": "%m "}
    server = embedded.start(home, settings=settings)
    try:
        dsn = create_database(server.dsn, "here")
        migrate.upgrade(dsn)
        with WorkerProcesses(dsn, tmp_path) as workers:
            with psycopg.connect(dsn, autocommit=True) as db:
                for _ in range(2):
                    workers.start("--processes", "4", "--heartbeat", "2")
                wait_until(lambda: len(pids(db)) == 8, STARTS)
                wait_until(lambda: len(listening(db)) == 2, STARTS)
                heartbeats_later(db, 0)
            size = (home / "log").stat().st_size
            server.stop("immediate")
            # In so long an outage, each worker waits longer and longer between its tries to connect.
            threading.Event().wait(3.0)
            server = embedded.start(home, settings=settings)
            with psycopg.connect(dsn, autocommit=True) as db:
                heartbeats_later(db, 0)
                wait_until(lambda: len(listening(db)) == 2)
                # an idle worker opens its connection for claims only at its next poll
                wait_until(lambda: len(connections_received(home / "log", size)) >= 8 * 2 + 2)
            attempts = connections_received(home / "log", size)
            most = max(sum(at <= other < at + 0.1 for other in attempts) for at in attempts)
            seconds = Counter(int(at - attempts[0]) for at in attempts)
            print(
                f"{len(attempts)} connections after the restart, by second {dict(seconds)}, at most {most} in 0.1 s"
            )
            assert max(seconds.values()) <= 8 * 4
            assert most <= 12
    finally:
        server.stop()
