"""Does the queue stay fast while some session holds an old snapshot?

A REPEATABLE READ transaction stays open for ten minutes, so vacuum can remove no dead row. Meanwhile 1,000 jobs a second are enqueued, and
one worker process runs them. A pickup is the time from a job's ``created_at`` to its ``started_at``, which includes the time that the
worker waits between claims. The duration of each claim is read from the worker's log. Targets: at the end, at least 0.98 of the enqueued
jobs are completed, and the pickup p99 of the last minute is at most twice the pickup p99 of the first minute.
"""

import asyncio
import re
from datetime import datetime
from statistics import median

import psycopg

from bench import peers
from bench.load import held_snapshot, migrate, number, offer, percentile, pickups
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle
from bench.worker import Worker

TITLE = "one worker process runs jobs at a steady rate while another session holds a snapshot"
SECONDS = 600.0
LEGS = 10  # the time is divided into this many parts; the first and the last part are compared
RATE = 1_000
SHOWN = [
    "completed_share",
    "pickup_p99_growth",
    "pickup_p99_ms_first",
    "pickup_p99_ms_last",
    "claim_p50_growth",
    "claim_p50_ms_first",
    "claim_p50_ms_last",
    "offered_per_s",
]
HEADLINES = ["completed_share", "pickup_p99_growth", "claim_p50_growth"]
TARGETS = [
    Target(
        "completed jobs, % of the enqueued ones",
        lambda results: results.median("snapshot", "completed_share"),
        98,
    ),
    Target(
        "pickup p99 of the last tenth of the time, divided by the pickup p99 of the first tenth",
        lambda results: results.median("snapshot", "pickup_p99_growth"),
        2,
        at_least=False,
    ),
]

CLAIMED = re.compile(r"^(\S+ \S+) DEBUG +claimed [1-9]\d* of \d+ in (\S+) ms", re.MULTILINE)
COMPLETED = "SELECT count(*) FROM pgqueue.jobs WHERE state = 'completed'"


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    seconds = max(20.0, SECONDS * scale)
    for round_ in range(rounds):
        report.add(Measurement("snapshot", "pgqueue", round_, measure(server, seconds)))
    title = f"{TITLE}: {RATE:,} jobs/s for {seconds:g} s, its first and last {seconds / LEGS:g} s"
    report.table("snapshot", title, SHOWN)


def measure(server: str, seconds: float) -> dict[str, float]:
    with fresh_database(server) as dsn:
        migrate(dsn)
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            with Worker(ours, dsn, jobs=1, command=ours.TALKING_WORKER) as worker:
                asyncio.run(first_job(dsn))
                worker.next_start()  # from now on the worker is running jobs
                with held_snapshot(dsn):
                    offered = asyncio.run(offer(dsn, RATE, seconds))
                    completed = number(conn, COMPLETED) - 1
                claims = worker.all_output()
            window = seconds / LEGS
            return {
                "completed_share": 100 * completed / offered.jobs,
                "offered_per_s": offered.jobs / seconds,
                **pickup_times(pickups(conn)[1:], window),
                **claim_times(claims, window),
            }


async def first_job(dsn: str) -> None:
    async with ours.producer(dsn) as producer:
        await producer.enqueue_one(peers.job(0))


def pickup_times(rows: list[tuple[float, float]], window: float) -> dict[str, float]:
    begin, end = rows[0][0], rows[-1][0]
    first = 1000 * percentile([pickup for at, pickup in rows if at - begin < window], 99)
    last = 1000 * percentile([pickup for at, pickup in rows if end - at < window], 99)
    return {"pickup_p99_growth": last / first, "pickup_p99_ms_first": first, "pickup_p99_ms_last": last}


def claim_times(log: str, window: float) -> dict[str, float]:
    """Returns the median durations of the first and the last claims that found jobs, and their ratio. Reads them from the worker's log."""
    claims = [(datetime.fromisoformat(at).timestamp(), float(ms)) for at, ms in CLAIMED.findall(log)][1:]
    begin, end = claims[0][0], claims[-1][0]
    first = median(ms for at, ms in claims if at - begin < window)
    last = median(ms for at, ms in claims if end - at < window)
    return {"claim_p50_growth": last / first, "claim_p50_ms_first": first, "claim_p50_ms_last": last}
