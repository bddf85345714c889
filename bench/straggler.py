"""If a business transaction has enqueued jobs and stays open, does any other session wait for it?

The transaction writes a row, enqueues some jobs by the public API and stays open for ten minutes. Meanwhile other sessions enqueue 2,000
jobs a second, and one worker process runs the jobs of these sessions. 20 times a second, the sessions that wait for the transaction are
counted by ``pg_blocking_pids``; ``waits`` is the sum of these counts. The transaction also holds back vacuum. So when it commits and its
jobs become visible, the table still has all dead rows of those minutes. Targets: no session waits for the transaction, and its jobs start
within 2 s of its commit.
"""

import asyncio
from typing import Any

import psycopg

from bench import peers
from bench.load import Offered, migrate, number, offer, percentile, sampling, wait_for
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle
from bench.worker import Worker

TITLE = "a transaction with jobs stays open and then commits, while other sessions enqueue and a worker runs their jobs"
SECONDS = 600.0
RATE = 2_000
CONNECTIONS = 4
JOBS = 20
AFTER = 5.0  # the other sessions go on enqueuing for this many seconds after the commit
SHOWN = [
    "waits",
    "enqueue_p99_ms",
    "enqueue_max_ms",
    "late_p50_s",
    "late_max_s",
    "offered_per_s",
    "completed_share",
]
HEADLINES = ["waits", "late_max_s"]
TARGETS = [
    Target(
        "waits for the open transaction",
        lambda results: results.median("straggler", "waits"),
        0,
        at_least=False,
    ),
    Target(
        "time from the transaction's commit to the start of its jobs, s",
        lambda results: results.median("straggler", "late_max_s"),
        2,
        at_least=False,
    ),
]

WAITING = "SELECT count(*)::int FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
LATE = """
SELECT extract(epoch FROM started_at)::float8 - %s FROM pgqueue.jobs WHERE id = ANY(%s) AND started_at IS NOT NULL"""
COMPLETED = "SELECT count(*) FROM pgqueue.jobs WHERE state = 'completed'"


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    seconds = max(10.0, SECONDS * scale)
    for round_ in range(rounds):
        report.add(Measurement("straggler", "pgqueue", round_, measure(server, seconds)))
    report.table("straggler", f"{TITLE}: {RATE:,} jobs/s for {seconds:g} s", SHOWN)


def measure(server: str, seconds: float) -> dict[str, float]:
    with fresh_database(server) as dsn:
        migrate(dsn)
        settle(dsn)
        with psycopg.connect(dsn) as straggler, psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
            with Worker(ours, dsn, jobs=1):
                straggler.execute("INSERT INTO orders VALUES (1)")
                jobs = ours.noop.using(straggler).enqueue_many([peers.job(n) for n in range(JOBS)])
                offered, waits, committed = asyncio.run(meanwhile(dsn, straggler, seconds))
                completed = number(conn, COMPLETED)
                ids = [job.id for job in jobs]
                wait_for(
                    conn,
                    f"SELECT count(*) FROM pgqueue.jobs WHERE id = ANY('{{{','.join(map(str, ids))}}}') AND started_at IS NOT NULL",
                    JOBS,
                )
                late = [row[0] for row in conn.execute(LATE, [committed, ids])]
        return {
            "waits": sum(waits),
            "samples": len(waits),
            "enqueue_p99_ms": 1000 * percentile(offered.calls, 99),
            "enqueue_max_ms": 1000 * max(offered.calls),
            "late_p50_s": percentile(late, 50),
            "late_max_s": max(late),
            "offered_per_s": offered.jobs / (seconds + AFTER),
            "completed_share": 100 * completed / (offered.jobs + JOBS),
        }


async def meanwhile(
    dsn: str, straggler: psycopg.Connection[Any], seconds: float
) -> tuple[Offered, list[int], float]:
    """Enqueues jobs from other sessions, and commits the open transaction after ``seconds``.

    Returns the enqueued jobs, the counts of sessions that waited, and the database's time just before that commit.
    """
    async with sampling(dsn, WAITING, [straggler.info.backend_pid]) as waits:
        offering = asyncio.create_task(offer(dsn, RATE, seconds + AFTER, CONNECTIONS))
        await asyncio.sleep(seconds)
        committed = await asyncio.to_thread(commit, straggler)
        return await offering, waits, committed


def commit(straggler: psycopg.Connection[Any]) -> float:
    now = number(straggler, "SELECT extract(epoch FROM clock_timestamp())")
    straggler.commit()
    return now
