"""Do finished jobs slow the queue down?

Targets: the rate with 10 M finished jobs is at least 0.95 of the rate without them, and a lookup takes less than 1 ms. Three databases hold
0, 1 M and 10 M finished jobs, spread over the day tables of 30 days. They are measured one after the other. First one session looks up
single jobs, pending and finished ones, with ``SELECT … FROM pgqueue.jobs WHERE id = …``. Then one worker process works through the pending
jobs; ``server_us`` is the server's CPU time for claiming and settling a job.
"""

import contextlib
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from bench import peers
from bench.load import against, drain, fill, migrate, number, percentile, tidy
from bench.report import Measurement, Report, Target
from bench.server import fresh_database

TITLE = "one worker process works through jobs, and a session looks up jobs, in a database with 0, 1 M or 10 M finished jobs of 30 days"
JOBS = 60_000
DAYS = 30
HISTORIES = {"none": 0, "1 M": 1_000_000, "10 M": 10_000_000}
LOOKUPS = 2_000
SHOWN = ["jobs_per_s", "kept_share", "cpu_ratio", "server_us", "lookup_p50_ms", "lookup_p99_ms"]
HEADLINES = ["kept_share", "cpu_ratio", "lookup_p50_ms"]
TARGETS = [
    Target(
        "rate with 10 M finished jobs, % of the rate without finished jobs",
        lambda results: results.median("history", "kept_share", "pgqueue 10 M"),
        95,
    ),
    Target(
        "lookup by id with 10 M finished jobs, p50 ms",
        lambda results: results.median("history", "lookup_p50_ms", "pgqueue 10 M"),
        1.0,
        at_least=False,
    ),
]

LOOKUP = "SELECT state, attempt, finished_at FROM pgqueue.jobs WHERE id = %s"
FINISHED = """
INSERT INTO pgqueue.jobs_done (task, state, attempt, lease_id, created_at, run_at, started_at, finished_at, args)
SELECT 'noop', 'completed', 1, 1, at, at, at, at, jsonb_build_object('n', n, 'note', %s::text)
FROM generate_series(1, %s) n, LATERAL (
    SELECT %s::timestamptz + (n::float8 / %s) * %s::interval AS at) finished
"""


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    jobs = max(10_000, int(JOBS * scale))
    with contextlib.ExitStack() as stack:
        databases = {name: stack.enter_context(fresh_database(server)) for name in HISTORIES}
        for name, dsn in databases.items():
            migrate(dsn)
            lay(dsn, int(HISTORIES[name] * scale))
        for round_ in range(rounds):
            rows: dict[str, dict[str, float]] = {}
            for name, dsn in databases.items():
                rows[name] = measure(dsn, jobs)
                report.add(
                    Measurement("history", f"pgqueue {name}", round_, against(rows[name], rows["none"]))
                )
    sizes = ", ".join(f"{int(size * scale):,}" for size in HISTORIES.values())
    report.table("history", f"{TITLE}; here {jobs:,} jobs, with {sizes} finished jobs", SHOWN)


def measure(dsn: str, jobs: int) -> dict[str, float]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DELETE FROM pgqueue.jobs_live")
        fill(conn, jobs)
        tidy(conn)
        looked_up = look_up(conn)
    return looked_up | drain(dsn, jobs)


def lay(dsn: str, finished: int) -> None:
    """Makes the day tables of ``DAYS`` days and fills them with ``finished`` completed jobs."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=DAYS)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("UPDATE pgqueue.queues SET retention = %s", [timedelta(days=DAYS + 7)])
        for number_ in range(DAYS):
            add_day(conn, first + timedelta(days=number_))
        conn.execute(FINISHED, [peers.NOTE, finished, first, finished + 1, timedelta(days=DAYS)])
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


def add_day(conn: psycopg.Connection[Any], day: datetime) -> None:
    name = f"jobs_done_{day:%Y%m%d}"
    conn.execute(
        sql.SQL("CREATE TABLE pgqueue.{} PARTITION OF pgqueue.jobs_done FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(name), sql.Literal(day), sql.Literal(day + timedelta(days=1))
        )
    )
    conn.execute(
        sql.SQL("CREATE UNIQUE INDEX {} ON pgqueue.{} (id)").format(
            sql.Identifier(f"{name}_id_key"), sql.Identifier(name)
        )
    )


def look_up(conn: psycopg.Connection[Any]) -> dict[str, float]:
    highest = int(number(conn, "SELECT max(id) FROM pgqueue.jobs_live"))
    lowest = int(number(conn, "SELECT coalesce(min(id), 1) FROM pgqueue.jobs"))
    for _ in range(100):  # so that the server has prepared the statement, and has the indexes in memory
        conn.execute(LOOKUP, [random.randint(lowest, highest)]).fetchall()
    seconds = []
    for _ in range(LOOKUPS):
        before = time.perf_counter()
        conn.execute(LOOKUP, [random.randint(lowest, highest)]).fetchall()
        seconds.append(time.perf_counter() - before)
    return {"lookup_p50_ms": 1000 * percentile(seconds, 50), "lookup_p99_ms": 1000 * percentile(seconds, 99)}
