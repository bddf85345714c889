"""Does claiming stay fast while some session holds an old snapshot? Target: the last claims cost at most twice the first.

Another session keeps a REPEATABLE READ transaction open, so no dead row can be removed, while jobs are enqueued
steadily and one worker process serves them.
"""

import asyncio
from statistics import median

import psycopg

from bench import peers
from bench.report import Measurement, Report
from bench.server import fresh_database, settle
from bench.worker import Worker

SECONDS = 60
WINDOW = 10
RATE = 500
TICK = 0.010

PICKUPS = """
SELECT extract(epoch FROM created_at - min(created_at) OVER ())::float8,
       extract(epoch FROM started_at - created_at)::float8
FROM pgqueue.jobs WHERE started_at IS NOT NULL ORDER BY created_at"""


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    for round_ in range(rounds):
        values = asyncio.run(measure(server, peers.load("pgqueue"), max(2 * WINDOW, SECONDS * scale)))
        report.add(Measurement("snapshot", "pgqueue", round_, values))
    shown = ["last_over_first", "first_ms", "last_ms", "served"]
    report.table(
        "snapshot", f"pickup p50, first and last {WINDOW} s of a held snapshot", shown, less_is_better=True
    )


async def measure(server: str, peer: peers.Peer, seconds: float) -> dict[str, float]:
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        async with peer.producer(dsn) as producer, await psycopg.AsyncConnection.connect(dsn) as reader:
            with Worker(peer, dsn, jobs=1) as worker:
                await producer.enqueue_one(peers.job(0))
                await asyncio.to_thread(worker.next_start)  # it serves
                await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await reader.execute("SELECT count(*) FROM pgqueue.jobs")
                await enqueue_steadily(producer, seconds)
                await asyncio.sleep(1)
        with psycopg.connect(dsn) as conn:
            pickups = conn.execute(PICKUPS).fetchall()[1:]
    first = median(pickup for at, pickup in pickups if at - pickups[0][0] < WINDOW)
    last = median(pickup for at, pickup in pickups if pickups[-1][0] - at < WINDOW)
    return {
        "last_over_first": last / first,
        "first_ms": 1000 * first,
        "last_ms": 1000 * last,
        "served": len(pickups),
    }


async def enqueue_steadily(producer: peers.Producer, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    begin, batch = loop.time(), int(RATE * TICK)
    for tick in range(int(seconds / TICK)):
        await asyncio.sleep(begin + tick * TICK - loop.time())
        await producer.enqueue_many([peers.job(tick * batch + i) for i in range(batch)])
