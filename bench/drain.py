"""How many no-op jobs a second does ONE worker process finish, when they are all waiting already?

The clock runs from the first handler's start until the database knows that all jobs are finished.
"""

import asyncio
import time
from collections.abc import Callable

import psycopg

from bench import peers, probe
from bench.cpu import Meter
from bench.report import Measurement, Report
from bench.server import fresh_database, settle
from bench.worker import Worker

CHUNK = 1_000
POLL = 0.005


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    for round_ in range(rounds):  # interleaved, so that a noisy minute hits everybody
        for name in systems:
            jobs = int(peers.load(name).DRAIN_JOBS * scale)
            report.add(Measurement("drain", name, round_, measure(server, peers.load(name), jobs)))
    shown = ["jobs_per_s", "client_us", "server_us"]
    report.table("drain", "one worker process empties a queue of no-op jobs; CPU a job in µs", shown)


def measure(server: str, peer: peers.Peer, jobs: int) -> dict[str, float]:
    with fresh_database(server) as dsn:
        asyncio.run(fill(peer, dsn, jobs))
        settle(dsn)
        with (
            psycopg.connect(dsn, autocommit=True) as conn,
            peer.counter(dsn) as finished,
            Worker(peer, dsn, jobs) as worker,
        ):
            first = worker.next_start()
            meter = Meter(conn, worker.process.pid)
            worker.next_start()  # of the last job
            wait_until(finished, jobs)
            rate = jobs / (probe.now() - first)
            return {"jobs_per_s": rate, "jobs": jobs, **meter.per_job(jobs)}


async def fill(peer: peers.Peer, dsn: str, jobs: int) -> None:
    await peer.setup(dsn)
    async with peer.producer(dsn) as producer:
        for start in range(0, jobs, CHUNK):
            await producer.enqueue_many([peers.job(n) for n in range(start, min(start + CHUNK, jobs))])


def wait_until(finished: Callable[[], int], jobs: int, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while (done := finished()) < jobs:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {jobs} jobs were finished after all had run")
        time.sleep(POLL)
