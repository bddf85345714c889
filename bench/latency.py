"""How long does an idle worker process take to start a job, from just before the commit that enqueued it?"""

import asyncio
import random

from bench import peers
from bench.report import Measurement, Report, percentiles
from bench.server import fresh_database, settle
from bench.worker import Worker

SAMPLES = 200
WARM_UP = 20
GAP = 0.020


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    samples = max(20, int(SAMPLES * scale))
    for round_ in range(rounds):
        for name in systems:
            pickups = asyncio.run(measure(server, peers.load(name), samples))
            report.add(Measurement("latency", name, round_, percentiles(pickups)))
    shown = ["p50_ms", "p95_ms", "p99_ms", "max_ms"]
    report.table(
        "latency", f"an idle worker picks up a job, {rounds} x {samples} samples", shown, less_is_better=True
    )


async def measure(server: str, peer: peers.Peer, samples: int) -> list[float]:
    pickups = []
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        async with peer.producer(dsn) as producer:
            with Worker(peer, dsn) as worker:
                for n in range(WARM_UP + samples):
                    before = await producer.enqueue_one(peers.job(n))
                    pickups.append(await asyncio.to_thread(worker.next_start) - before)
                    await asyncio.sleep(GAP * random.uniform(0.5, 1.5))
    return pickups[WARM_UP:]
