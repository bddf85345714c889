"""How many no-op jobs a second does ONE worker process finish, when they are all waiting already?

The clock runs from the first handler's start until the database knows that all jobs are finished.
"""

import asyncio
import time

import psycopg

from bench import peers, probe
from bench.report import Measurement, Report
from bench.server import fresh_database, settle
from bench.worker import Worker

CHUNK = 1_000
POLL = 0.005


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    for round_ in range(rounds):  # interleaved, so that a noisy minute hits everybody
        for name in systems:
            jobs = int(peers.load(name).DRAIN_JOBS * scale)
            seconds = measure(server, peers.load(name), jobs)
            report.add(Measurement("drain", name, round_, {"jobs_per_s": jobs / seconds, "jobs": jobs}))
    report.table("drain", "one worker process empties a queue of no-op jobs", ["jobs_per_s"])


def measure(server: str, peer: peers.Peer, jobs: int) -> float:
    with fresh_database(server) as dsn:
        asyncio.run(fill(peer, dsn, jobs))
        settle(dsn)
        with Worker(peer, dsn, jobs) as worker:
            first = worker.next_start()
            worker.next_start()  # the last one
            with psycopg.connect(dsn, autocommit=True) as conn:
                wait_until_done(conn, peer, jobs)
            return probe.now() - first


async def fill(peer: peers.Peer, dsn: str, jobs: int) -> None:
    await peer.setup(dsn)
    async with peer.producer(dsn) as producer:
        for start in range(0, jobs, CHUNK):
            await producer.enqueue_many([peers.job(n) for n in range(start, min(start + CHUNK, jobs))])


def wait_until_done(conn: psycopg.Connection, peer: peers.Peer, jobs: int, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while (done := conn.execute(peer.DONE).fetchone()[0]) < jobs:  # type: ignore[index, arg-type]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{peer.WORKER}: {done} of {jobs} jobs were finished after all had run")
        time.sleep(POLL)
