"""Several worker processes on one database: woken by one connection, replaced one at a time, never acting as one."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.dev import embedded
from tests.apps.workload import running_at_gate
from tests.pids import descendants, is_gone, send
from tests.process.worker_processes import (
    QUICK,
    WorkerProcess,
    WorkerProcesses,
    enqueue,
    gate,
    state_of,
    unfinished,
)
from tests.servers import create_database, directory_for_servers
from tests.waiting import STARTS, wait_until

SELDOM = ("--poll", "30")  # what happens sooner was not found by a poll


def pids(db: Connection[Any]) -> set[int]:
    rows = db.execute(
        "select pid from pgqueue.workers where state = 'running' and expires_at > clock_timestamp()"
    )
    return {pid for (pid,) in rows}


def listening(db: Connection[Any]) -> list[str]:
    """The last statement of each connection that listens; the self-test's, once it has begun in earnest."""
    rows = db.execute(
        "select query from pg_stat_activity"
        " where datname = current_database() and application_name = 'pgqueue listen'"
    )
    return [query for (query,) in rows]


def start(workers: WorkerProcesses, db: Connection[Any], count: int, *options: str) -> WorkerProcess:
    """A supervisor, its children at work and its listener proven."""
    worker = workers.start("--processes", str(count), *options)
    wait_until(lambda: len(pids(db)) == count, STARTS)
    wait_until(lambda: any("pg_notify" in query for query in listening(db)), STARTS)
    return worker


@contextmanager
def gates(dsn: str, count: int) -> Iterator[None]:
    """Gates 1 to ``count``, closed."""
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(n) from generate_series(1, %s) n", [count])
        yield


def at_gates(db: Connection[Any]) -> int:
    row = db.execute(
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    ).fetchone()
    return row[0] if row else 0


# ---------------------------------------------------------------- wake-ups


def test_one_notification_fills_all_processes_through_one_connection(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start(workers, db, 4, "-c", "3", *SELDOM)
    assert len(listening(db)) == 1
    with gates(workers.dsn, 12):
        with db.transaction():
            for op in range(1, 13):
                enqueue(db, "hold_async", op, inside=False)
        wait_until(lambda: at_gates(db) == 12, timeout=10)
    wait_until(lambda: not unfinished(db))


def test_a_process_that_hangs_or_has_no_slot_free_keeps_no_wake_up_to_itself(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    start(workers, db, 3, "-c", "1", *SELDOM)
    with gate(workers.dsn, 1):
        enqueue(db, "hold_async", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        [(busy,)] = db.execute(
            "select w.pid from pgqueue.jobs_live j join pgqueue.workers w on w.id = j.worker_id"
        ).fetchall()
        hung, _ = pids(db) - {busy}
        os.kill(hung, signal.SIGSTOP)
        try:
            for op in range(2, 22):
                job_id = enqueue(db, "move_async", op, ms=1)
                wait_until(lambda job_id=job_id: state_of(db, job_id) == "completed", timeout=5)  # type: ignore[misc]
        finally:
            send(hung, signal.SIGCONT)
    wait_until(lambda: not unfinished(db))


# ---------------------------------------------------------------- life and death


@pytest.mark.parametrize("slots", [1, 3], ids=["no_slot_free", "slots_free"])
def test_children_finish_and_go_when_their_supervisor_was_killed(
    workers: WorkerProcesses, db: Connection[Any], slots: int
) -> None:
    worker = start(workers, db, 2, "-c", str(slots), *SELDOM)
    children = pids(db)
    with gates(workers.dsn, 2):
        job_ids = [enqueue(db, "hold_async", op, inside=False) for op in (1, 2)]
        wait_until(lambda: at_gates(db) == 2)
        worker.end()
        wait_until(lambda: len(worker.lines("its supervisor is gone; it drains and exits")) == 2)
    wait_until(lambda: all(is_gone(pid) for pid in children))
    assert [state_of(db, job_id) for job_id in job_ids] == ["completed"] * 2
    assert not pids(db)


def test_a_child_that_dies_again_and_again_is_started_ever_later(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    worker = start(workers, db, 2, *QUICK)
    stable = min(pids(db))
    for _ in range(3):
        [victim] = wait_until(lambda: pids(db) - {stable})
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in pids(db))  # type: ignore[misc]
    wait_until(lambda: len(pids(db)) == 2)
    pauses = [float(line.split()[-2]) for line in worker.lines("died with -9 and is started again in")]
    for pause, longest in zip(pauses, (1, 2, 4), strict=True):
        assert longest / 2 - 0.1 <= pause <= longest
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize(("signals", "code"), [(1, 12), (2, 143)])
def test_the_supervisor_hands_signals_on_and_tells_how_its_workers_ended(
    workers: WorkerProcesses, db: Connection[Any], signals: int, code: int
) -> None:
    worker = start(workers, db, 2, "--grace", "1" if signals == 1 else "60")
    with gate(workers.dsn, 1):
        job_id = enqueue(db, "hold_async", 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.lines("1 running jobs have"))
        if signals == 2:
            worker.signal(signal.SIGTERM)
        assert worker.wait() == code
        assert state_of(db, job_id) == "pending"
    workers.start("--drain")
    wait_until(lambda: not unfinished(db))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("task", "number"),
    [("hold_thread", signal.SIGTERM), ("hold_process", signal.SIGTERM), ("hold_process", signal.SIGINT)],
)
def test_a_signal_to_all_processes_is_one_request_to_stop_and_a_second_one_hurries(
    workers: WorkerProcesses, db: Connection[Any], number: signal.Signals, count: int, task: str
) -> None:
    """As systemd stops a unit, and Ctrl-C the group of a terminal."""
    worker = start(workers, db, 2, "--grace", "60")
    with gate(workers.dsn, 1) as opened:
        job_id = enqueue(db, task, 1, inside=False)
        wait_until(lambda: running_at_gate(db, 1))
        for _ in range(count):
            for pid in [worker.pid, *descendants(worker.pid)]:
                send(pid, number)
            wait_until(lambda: worker.lines("1 running jobs have"))
        if count == 1:
            opened()
        assert worker.wait(timeout=60) == (0 if count == 1 else 128 + number)
    row = db.execute(
        "select state, attempt, crash_count from pgqueue.jobs where id = %s", [job_id]
    ).fetchone()
    assert row == (("completed", 1, 0) if count == 1 else ("pending", 0, 0))
    assert not worker.lines("died with")
    workers.start("--drain")
    wait_until(lambda: not unfinished(db))


@pytest.mark.parametrize("code", [0, 12, 143, -11], ids=str)
def test_a_worker_that_ends_unasked_is_started_again_and_its_jobs_are_back_at_once(
    workers: WorkerProcesses, db: Connection[Any], code: int
) -> None:
    worker = start(workers, db, 2)  # a lease of 30 s
    first = pids(db)
    with gates(workers.dsn, 8):
        held = [enqueue(db, "hold_async", op, inside=False) for op in range(1, 9)]
        wait_until(lambda: at_gates(db) == 8)
        guilty = enqueue(db, "exit_once", 9, effect=False, code=code)
        [line] = wait_until(lambda: worker.lines("ERROR   a worker process"))
        assert f"died with {code} and is started again in" in line
        wait_until(lambda: state_of(db, guilty) == "completed", timeout=25)
        wait_until(lambda: len(pids(db)) == 2 and len(first & pids(db)) == 1)
    wait_until(lambda: not unfinished(db), timeout=25)
    assert {state_of(db, job_id) for job_id in held} == {"completed"}
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


def test_processes_that_drain_end_for_good(workers: WorkerProcesses, db: Connection[Any]) -> None:
    for op in range(20):
        enqueue(db, "move_async", op, ms=1)
    worker = workers.start("--processes", "2", "--drain", "--poll", "0.2")
    assert worker.wait(timeout=90) == 0
    assert not unfinished(db)
    assert not worker.lines("died with")


# ---------------------------------------------------------------- --max-jobs, --max-rss


def test_a_single_worker_exits_when_it_has_run_its_jobs(
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


def test_processes_that_have_run_their_jobs_are_replaced_one_at_a_time(
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


def test_a_process_that_grew_too_large_is_replaced(workers: WorkerProcesses, db: Connection[Any]) -> None:
    worker = start(workers, db, 2, "--max-rss", "200M")
    first = pids(db)
    enqueue(db, "hoard", 1, megabytes=220)
    wait_until(lambda: len(pids(db)) == 2 and len(first & pids(db)) == 1)
    [line] = worker.lines("it will be drained and replaced")
    assert re.search(r"uses \d{3} MB of memory, more than [12]\d\d MB \(--max-rss\)", line)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_limit_below_what_the_app_needs_is_refused(workers: WorkerProcesses) -> None:
    worker = workers.start("--max-rss", "16M")
    assert worker.wait() == 2
    assert worker.lines("--max-rss 16M leaves no room for jobs")


# ---------------------------------------------------------------- what a fleet asks of the server


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory / "server"


COUNTED = "sum(calls) filter (where query like %s)"


def test_an_idle_fleet_asks_little_and_a_job_wakes_one_process(home: Path, tmp_path: Path) -> None:
    """Polls, heartbeats, and now and then a look at the leader; and of four processes one claims for one job."""
    settings = {"fsync": "off", "autovacuum": "off", "shared_preload_libraries": "pg_stat_statements"}
    server = embedded.start(home, settings=settings)
    try:
        dsn = create_database(server.dsn, "here")
        migrate.upgrade(dsn)
        with WorkerProcesses(dsn, tmp_path) as workers, psycopg.connect(dsn, autocommit=True) as db:
            db.execute("create extension pg_stat_statements")
            start(workers, db, 4, "--heartbeat", "1")
            heartbeats_later(db, 3)  # what comes with the start is over
            db.execute("select pg_stat_statements_reset()")
            seconds = heartbeats_later(db, 10)
            counts = {
                name: calls(db, beginning) / seconds
                for name, beginning in (
                    ("poll", "with keyed"), ("watch", "with recursive lanes"), ("heartbeat", "update pgqueue.workers w\nset heartbeat_at"), ("elect", "with now_leading"),
                    ("rescue", "with expired"), ("claim", "with found"), ("all", ""),
                )
            }  # fmt: skip
            print(f"statements a second, 4 idle workers, heartbeat 1 s: {counts}")
            assert counts["poll"] < 4 * 1.2
            assert (
                counts["watch"] < 1.2
            )  # the leader's, of queues; another is of dead jobs, a third while alerts are open
            assert counts["heartbeat"] < 4 * 1.2
            assert counts["elect"] < 1.2 + 3 * 0.5  # the leader's, and the others' each time a term ends
            assert counts["rescue"] < 1.2
            assert counts["claim"] == 0
            assert counts["all"] < 4 * 1.2 * 2 + 1.2 * 2 + 3 * 0.5 + 0.5 + 1.2 * 3

            before, begun = calls(db, "with found"), time.monotonic()
            for op in range(20):
                job_id = enqueue_alone(db, op)
                wait_until(lambda job_id=job_id: state_of(db, job_id) == "completed")  # type: ignore[misc]
            claims = calls(db, "with found") - before
            print(f"{claims} claims for 20 jobs, 4 workers")
            polls = 4 * 1.2 * (1 + time.monotonic() - begun)  # one of these may see a job before it is taken
            assert claims <= 20 * 2 + polls  # one takes the job, one finds no other
    finally:
        server.stop()


def heartbeats_later(db: Connection[Any], seconds: float) -> float:
    """Waits until every worker has had a heartbeat after so many seconds; returns how many it were."""
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
    """How often the statements that begin so were run.

    Left out are the tests' own, which begin with select, and the settings of a session, which are one message together.
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
    """When the server, by its log from this byte on, was asked for a connection: seconds."""
    lines = log.read_bytes()[after:].decode(errors="replace").splitlines()
    return sorted(
        datetime.fromisoformat(line[:23]).timestamp() for line in lines if "connection received" in line
    )


def test_a_fleet_comes_back_after_a_restart_without_a_stampede(home: Path, tmp_path: Path) -> None:
    """Eight workers with some thirty connections: counted as the server notes them, also those that it refuses."""
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
            threading.Event().wait(3.0)  # the outage: long enough for every pause to have grown
            server = embedded.start(home, settings=settings)
            with psycopg.connect(dsn, autocommit=True) as db:
                heartbeats_later(db, 0)
                wait_until(lambda: len(listening(db)) == 2)
                # an idle worker's connection for jobs comes back with its next poll
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
