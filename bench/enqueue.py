"""How fast does one process enqueue in bulk, 1,000 jobs a call, each call committed?"""

import asyncio
import os
import time

import psycopg

from bench import peers
from bench.cpu import Meter
from bench.report import Measurement, Report
from bench.server import fresh_database, settle

BATCH = 1_000
CALLS = 20


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    calls = max(3, int(CALLS * scale))
    for round_ in range(rounds):
        for name in systems:
            values = asyncio.run(measure(server, peers.load(name), calls))
            report.add(Measurement("enqueue", name, round_, values))
    shown = ["jobs_per_s", "calls_per_s", "client_us", "server_us"]
    report.table("enqueue", f"one process enqueues {BATCH:,} jobs a call; CPU a job in µs", shown)


async def measure(server: str, peer: peers.Peer, calls: int) -> dict[str, float]:
    batches = [[peers.job(n) for n in range(i * BATCH, (i + 1) * BATCH)] for i in range(calls + 1)]
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            async with peer.producer(dsn) as producer:
                await producer.enqueue_many(batches.pop())  # connections opened, statements prepared
                meter, before = Meter(conn, os.getpid()), time.perf_counter()
                for batch in batches:
                    await producer.enqueue_many(batch)
                seconds = time.perf_counter() - before
                values = {"jobs_per_s": calls * BATCH / seconds, "calls_per_s": calls / seconds}
                return values | meter.per_job(calls * BATCH)
