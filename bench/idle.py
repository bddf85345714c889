"""What do idle workers cost?

Targets: an idle worker sends at most one query a second, and 100 idle workers use at most 5 % of one core in the server.

100 processes of ``pgq work`` with default settings serve an empty queue. Each statement of a worker is a transaction of its own. So
``queries`` is the number of transactions, committed or not, that ``pg_stat_database`` counts, without the transactions of the measuring
session. The server's CPU time includes its background processes. Memory is the proportional set size (PSS): if several processes share
memory, each of them counts an equal part of it.
"""

import re
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.cpu import used_seconds
from bench.load import fleet, migrate, number, server_seconds
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "one idle worker process (queries in a second, CPU time of 100 such processes)"
WORKERS = 100
SECONDS = 60.0
WARM_UP = 20.0  # a session can report its transactions up to 10 s late
COMMAND = ours.WORKER[:-2]  # without ``-c N``, so a worker has the default concurrency
SHOWN = [
    "queries",
    "server_per_100_percent",
    "worker_per_100_percent",
    "memory_mb",
    "sessions",
]
TARGETS = [
    Target(
        "queries a second of an idle worker",
        lambda results: results.median("idle", "queries"),
        1,
        at_least=False,
    ),
    Target(
        "server CPU for 100 idle workers, % of a core",
        lambda results: results.median("idle", "server_per_100_percent"),
        5,
        at_least=False,
    ),
]

TRANSACTIONS = """
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"""
SESSIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgqueue%'"""


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    workers, seconds = max(4, int(WORKERS * scale)), max(20.0, SECONDS * scale)
    for round_ in range(rounds):
        report.add(Measurement("idle", "pgqueue", round_, measure(server, workers, seconds)))
    report.table("idle", f"{TITLE}: {workers} of them for {seconds:g} s", SHOWN)


def measure(server: str, size: int, seconds: float) -> dict[str, float]:
    with fresh_database(server) as dsn:
        migrate(dsn)
        settle(dsn)
        with fleet(dsn, size, command=COMMAND) as workers, psycopg.connect(dsn, autocommit=True) as conn:
            time.sleep(WARM_UP)
            pids = [worker.process.pid for worker in workers]
            before = look(conn, pids)
            time.sleep(seconds)
            after = look(conn, pids)
            took, queries, server_cpu, client_cpu = (b - a for a, b in zip(before, after, strict=True))
            return {
                "queries": (queries - OWN) / took / size,
                "server_per_100_percent": 100 * server_cpu / took * 100 / size,
                "worker_per_100_percent": 100 * client_cpu / took * 100 / size,
                "memory_mb": sum(map(pss_mb, pids)) / size,
                "sessions": number(conn, SESSIONS) / size,
            }


OWN = 2  # the first call of look() runs this many statements, which the second call counts


def look(conn: psycopg.Connection[Any], pids: list[int]) -> tuple[float, float, float, float]:
    return time.monotonic(), number(conn, TRANSACTIONS), server_seconds(conn), sum(map(used_seconds, pids))


def pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
