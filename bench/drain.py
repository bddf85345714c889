"""How many no-op jobs a second do worker processes finish, if all these jobs are due when the workers start?

In this package, a drain means that workers work through all jobs of a queue. The clock runs from the first start of a handler until
the store shows that all jobs are finished. One process is measured, and also several processes together. If pgqueue runs several
processes, they claim nothing until all of them have started. pgqueue is also measured with handlers on threads and in child
processes, and with jobs that take one millisecond. ``peak_mb`` is the memory of the worker's processes. In runs of at least 200,000 jobs,
``rss_growth`` is the memory at the end divided by the memory after the first 100,000 jobs.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench import peers, probe, variants
from bench.cpu import Meter, backends, memory_mb
from bench.report import OURS, Report, Results, Target, joined
from bench.server import fresh_database, settle
from bench.worker import Worker

TITLE = "no-op jobs, all due at the start, finished by a worker"
SHOWN = ["jobs_per_s", "client_us", "server_us", "peak_mb", "rss_growth"]


def share_of_limit(results: Results) -> float | None:
    ours, bare = (
        results.median("drain", "jobs_per_s"),
        results.median("limit", "jobs_per_s", "pgqueue loop of 200"),
    )
    return 100 * ours / bare if ours and bare else None


def times(*systems: str, variant: str = OURS) -> Callable[[Results], float | None]:
    return lambda results: results.ratio("drain", "jobs_per_s", variant, to=systems)


def of_own(variant: str, other: str) -> Callable[[Results], float | None]:
    return lambda results: results.to_own(
        "drain", "jobs_per_s", f"{OURS} {variant}", f"{OURS} {other}".strip()
    )


TARGETS = [
    Target("rate of one process, divided by the rate of the fastest other system on Postgres (graphile-worker, pg-boss)", times("graphile_worker", "pg_boss"), 1.0),
    Target("rate of one process, divided by the rate of pgqueuer", times("pgqueuer"), 2),
    Target("rate of one process, divided by the rate of awa-pg", times("awa"), 4),
    Target("rate of one process, divided by the rate of procrastinate", times("procrastinate"), 50),
    Target("rate of one process, % of the rate of the bare loop of 200 (limit)", share_of_limit, 50),
    Target("rate of two processes, divided by the rate of one", of_own("x2", ""), 1.2),
    Target("rate of two processes, divided by the rate of two graphile-workers", times("graphile_worker", variant=f"{OURS} x2"), 1.1),
    Target("rate of four processes, divided by the rate of two", of_own("x4", "x2"), 1.0),
    Target("rate of eight processes, divided by the rate of two", of_own("x8", "x2"), 1.0),
    Target("rate with handlers on threads, divided by that with async handlers", of_own("threads", ""), 0.4),
    Target("a worker's peak memory, MB", lambda r: r.median("drain", "peak_mb"), 80, at_least=False),
    Target("growth of a worker's memory over 1,000,000 jobs (--scale 10)", lambda r: r.median("drain", "rss_growth"), 1.1, at_least=False),
]  # fmt: skip

# These systems are the fastest, so two processes of each of them are measured, too.
PAIRED = ("graphile_worker", "pg_boss", "pgqueuer")
CHUNK = 1_000
LONG = 100_000
POLL = 0.005
# Finished jobs are counted at least every LONGEST_LOOK seconds, because the remaining jobs can run faster than the rate so far suggests.
LONGEST_LOOK = 0.1


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    for round_ in range(rounds):
        # Each round measures all systems, so that a slow minute of the machine slows all of them.
        for name in systems:
            peer = peers.load(name)
            report.take("drain", name, round_, measure, server, peer, int(peer.DRAIN_JOBS * scale))
        shorter = min(scale, 1.0)
        for name in systems:
            if name in PAIRED:
                peer = peers.load(name)
                jobs = int(peer.DRAIN_JOBS * shorter)
                report.take("drain", joined(name, "x2"), round_, measure, server, peer, jobs, 2)
        for variant in [*variants.PROCESSES, *variants.EXECUTORS] if OURS in systems else []:
            jobs = int(variant.DRAIN_JOBS * shorter)
            report.take("drain", joined(OURS, variant.label), round_, measure, server, variant, jobs)
    report.table("drain", TITLE, SHOWN)


def measure(server: str, peer: peers.Peer, jobs: int, count: int = 1) -> dict[str, float]:
    with fresh_database(server) as dsn:
        asyncio.run(fill(peer, dsn, jobs))
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn, peer.counter(dsn) as finished:
            mine = backends(conn)
            hold(conn, peer)
            with Worker(peer, dsn, 1, count=count) as worker:
                let_go(conn, peer)
                first = worker.next_start()
                meter = Meter(conn, *worker.leaders(), ignored=mine)
                early = 0.0
                if jobs >= 2 * LONG:
                    wait_until(finished, LONG)
                    early = memory_mb(worker.pids())
                wait_until(finished, jobs)
                values = {"jobs_per_s": jobs / (probe.now() - first), "jobs": jobs, **meter.per_job(jobs)}
                values["peak_mb"] = memory_mb(worker.pids(), "VmHWM")
                return values | ({"rss_growth": memory_mb(worker.pids()) / early} if early else {})


def hold(conn: psycopg.Connection[Any], peer: peers.Peer) -> None:
    """Pauses the queues of pgqueue until all processes have started, because starting eight of them takes longer than running the jobs."""
    if isinstance(peer, variants.Variant) and peer.processes > 1:
        conn.execute("UPDATE pgqueue.queues SET paused = true")


def let_go(conn: psycopg.Connection[Any], peer: peers.Peer) -> None:
    if isinstance(peer, variants.Variant) and peer.processes > 1:
        there = 0
        while there < peer.processes:
            time.sleep(POLL)
            (there,) = conn.execute("SELECT count(*) FROM pgqueue.workers").fetchone() or (0,)
        time.sleep(1)  # until the workers are idle
        conn.execute("UPDATE pgqueue.queues SET paused = false")
        conn.execute("SELECT pg_notify('pgqueue', '')")


async def fill(peer: peers.Peer, dsn: str, jobs: int) -> None:
    await peer.setup(dsn)
    async with peer.producer(dsn) as producer:
        for start in range(0, jobs, CHUNK):
            await producer.enqueue_many([peers.job(n) for n in range(start, min(start + CHUNK, jobs))])


def wait_until(finished: Callable[[], int], jobs: int, patience: float = 60.0) -> None:
    """Waits until ``jobs`` jobs are finished. Counts finished jobs rarely, because counting takes CPU time from the workers.

    Before each count, this function sleeps half of the time that the unfinished jobs will probably need.
    """
    begin, before = time.monotonic(), finished()
    done, progress = before, begin
    while done < jobs:
        rate = (done - before) / max(time.monotonic() - begin, POLL)
        time.sleep(min(max(POLL, (jobs - done) / rate / 2), LONGEST_LOOK) if rate else 0.05)
        counted = finished()
        if counted > done:
            done, progress = counted, time.monotonic()
        elif time.monotonic() > progress + patience:
            raise TimeoutError(f"{done} of {jobs} jobs were finished, and no further job in {patience:g} s")
