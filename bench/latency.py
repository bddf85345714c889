"""How much time passes between the commit of a job and the start of its handler? The clock starts just before the commit.

First the worker is idle. Then it is measured under load: another producer enqueues ``--load`` jobs a second, by default half of pgqueue's
rate in ``drain``. The load is the same for every system. A system that cannot finish so many jobs a second is not measured under load.
``reached_share`` is the share of the load that the producer really enqueued. If this share is too small, the target counts as not measured.
"""

import asyncio
import random
from dataclasses import dataclass, field

from bench import drain, peers
from bench.report import OURS, Report, Results, Target, joined, number, percentiles
from bench.server import fresh_database, settle
from bench.worker import Start, Worker

TITLE = "from commit to the start of the handler"
SHOWN = ["p50_ms", "p95_ms", "p99_ms", "max_ms", "load_per_s", "reached_share"]
HEADLINES = ["p50_ms", "p99_ms", "load_per_s"]
LOADED = "under load"
REACHED = 90  # the target under load counts as measured only if at least this percentage of the load was really enqueued


def loaded_p99(results: Results) -> float | None:
    reached = results.median("latency", "reached_share", joined(OURS, LOADED))
    enough = reached is not None and reached >= REACHED
    return results.median("latency", "p99_ms", joined(OURS, LOADED)) if enough else None


POSTGRES = ("graphile_worker", "pg_boss", "procrastinate", "pgqueuer", "awa", "chancy", "dbos")
TARGETS = [
    Target("idle worker, p50, divided by the best on Postgres", lambda r: r.ratio("latency", "p50_ms", to=POSTGRES), 1.1, at_least=False),
    Target("idle worker, p99, divided by the best on Postgres", lambda r: r.ratio("latency", "p99_ms", to=POSTGRES), 1.1, at_least=False),
    Target("under load, p99, ms", loaded_p99, 25, at_least=False),
]  # fmt: skip

SAMPLES = 200
WARM_UP = 20
GAP = 0.020
TICK = 0.010
# A system is measured under load only if its rate in ``drain`` is at least SPARE times the load.
SPARE = 1.2


def run(
    server: str,
    systems: list[str],
    report: Report,
    rounds: int = 3,
    scale: float = 1.0,
    load: float | None = None,
) -> None:
    samples = max(20, int(SAMPLES * scale))
    for round_ in range(rounds):
        for name in systems:
            report.take("latency", name, round_, measure, server, peers.load(name), samples)
    load = load or drained(server, OURS, report) / 2
    able = [name for name in systems if drained(server, name, report) >= SPARE * load]
    for round_ in range(rounds):
        for name in able:
            system = joined(name, LOADED)
            report.take("latency", system, round_, measure, server, peers.load(name), samples, load)
    report.table("latency", f"{TITLE}; under load: beside {number(load)} jobs/s", SHOWN)


def drained(server: str, name: str, report: Report) -> float:
    """Returns the system's rate in ``drain``, in jobs/s. If this run has not asked that question, a short drain measures the rate now."""
    if known := report.results.median("drain", "jobs_per_s", name):
        return known
    peer = peers.load(name)
    try:
        return drain.measure(server, peer, peer.DRAIN_JOBS // 5)["jobs_per_s"]
    except Exception:  # noqa: BLE001 - the system counts as too slow for the load
        report.fail(f"latency: a drain by {name}")
        return 0.0


async def measure(server: str, peer: peers.Peer, samples: int, load: float = 0.0) -> dict[str, float]:
    """Returns the figures. Under load, returns an empty dict if the system's handler does not report the numbers of its jobs."""
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        async with peer.producer(dsn) as producer, peer.producer(dsn) as other:
            with Worker(peer, dsn) as worker:
                committed = [await producer.enqueue_one(peers.job(0))]
                started = [await asyncio.to_thread(worker.next_started)]
                if load and started[0].job is None:
                    return {}
                noise = Noise(other, load)
                making = asyncio.create_task(noise.make())
                for n in range(1, WARM_UP + samples):
                    committed.append(await producer.enqueue_one(peers.job(n)))
                    if not load:  # wait for each start, so that the worker is idle again
                        started.append(await asyncio.to_thread(worker.next_started))
                    await asyncio.sleep(GAP * random.uniform(0.5, 1.5))
                noise.stop = True
                made = await making
                while len(started) < len(committed):
                    started.append(await asyncio.to_thread(worker.next_started))
    pickups = [start.at - committed[n] for n, start in enumerate(in_order(started))]
    return percentiles(pickups[WARM_UP:]) | (
        {"load_per_s": made, "reached_share": 100 * made / load} if load else {}
    )


def in_order(started: list[Start]) -> list[Start]:
    """Returns the starts in the order in which their jobs were enqueued.

    Without load, perhaps no start has the number of its job. But then the starts are in this order already, because each job was enqueued
    after the job before it had started.
    """
    return sorted(started, key=lambda start: start.job or 0)


@dataclass
class Noise:
    """Enqueues the load: jobs whose starts are not measured. They are enqueued at an even rate, in small batches."""

    producer: peers.Producer
    rate: float
    stop: bool = field(default=False)

    async def make(self) -> float:
        """Enqueues until ``stop`` is set. Returns how many jobs a second it has really enqueued."""
        if not self.rate:
            return 0.0
        loop = asyncio.get_running_loop()
        begin, made = loop.time(), 0
        while not self.stop:
            due = int(self.rate * (loop.time() - begin)) - made
            if due:
                await self.producer.enqueue_many([peers.job(-1)] * due)
                made += due
            await asyncio.sleep(TICK)
        return made / (loop.time() - begin)
