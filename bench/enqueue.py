"""How fast does one process enqueue, if each call stores 1,000 jobs and commits?"""

import os
import time

import psycopg

from bench import peers
from bench.cpu import Meter
from bench.report import Report, Target
from bench.server import fresh_database, settle

BATCH = 1_000
TITLE = f"one process enqueues {BATCH:,} jobs a call"
SHOWN = ["jobs_per_s", "calls_per_s", "client_us", "server_us"]
TARGETS = [
    Target(
        "rate, divided by the rate of the fastest other system",
        lambda results: results.ratio("enqueue", "jobs_per_s"),
        1.0,
    ),
]

CALLS = 20


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    calls = max(3, int(CALLS * scale))
    for round_ in range(rounds):
        for name in systems:
            report.take("enqueue", name, round_, measure, server, peers.load(name), calls)
    report.table("enqueue", TITLE, SHOWN)


async def measure(server: str, peer: peers.Peer, calls: int) -> dict[str, float]:
    batches = [[peers.job(n) for n in range(i * BATCH, (i + 1) * BATCH)] for i in range(calls + 1)]
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            async with peer.producer(dsn) as producer:
                await producer.enqueue_many(batches.pop())  # opens connections and prepares statements
                meter, before = Meter(conn, os.getpid()), time.perf_counter()
                for batch in batches:
                    await producer.enqueue_many(batch)
                seconds = time.perf_counter() - before
                values = {"jobs_per_s": calls * BATCH / seconds, "calls_per_s": calls / seconds}
                return values | meter.per_job(calls * BATCH)
