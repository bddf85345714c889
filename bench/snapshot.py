"""Does claiming stay fast while some session holds an old snapshot? Target: the last claims cost at most twice the first.

Another session keeps a REPEATABLE READ transaction open, so no dead row can be removed, while jobs are enqueued
steadily and one worker process serves them. Of the first and the last seconds it compares the median duration of a claim
as the worker logs it, the median pickup (from ``created_at`` to ``started_at``, with the worker's pauses between claims) and
the server's CPU time for claiming alone.
"""

import asyncio
import math
import re
from datetime import datetime
from statistics import median
from typing import Any

import psycopg

from bench import peers
from bench.cpu import used_seconds
from bench.report import Measurement, Report
from bench.server import fresh_database, settle
from bench.worker import Worker

SECONDS = 60
WINDOW = 10
RATE = 500
TICK = 0.010

CLAIMED = re.compile(r"^(\S+ \S+) DEBUG +claimed [1-9]\d* of \d+ in (\S+) ms", re.MULTILINE)
CLAIMER = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgqueue claim'"
PICKUPS = """
SELECT extract(epoch FROM created_at - min(created_at) OVER ())::float8,
       extract(epoch FROM started_at - created_at)::float8
FROM pgqueue.jobs WHERE started_at IS NOT NULL ORDER BY created_at"""


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    for round_ in range(rounds):
        values = asyncio.run(measure(server, peers.load("pgqueue"), max(3 * WINDOW, SECONDS * scale)))
        report.add(Measurement("snapshot", "pgqueue", round_, values))
    title = f"the first and last {WINDOW} s of {SECONDS * scale:g} s under a held snapshot, {RATE} jobs/s"
    shown = [
        "claim_p50_growth",
        "claim_p50_ms_first",
        "claim_p50_ms_last",
        "claim_growth",
        "claim_us_first",
        "claim_us_last",
        "pickup_growth",
        "pickup_ms_first",
        "pickup_ms_last",
    ]
    report.table("snapshot", title, shown, less_is_better=True)


async def measure(server: str, peer: peers.Peer, seconds: float) -> dict[str, float]:
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        settle(dsn)
        async with peer.producer(dsn) as producer, await psycopg.AsyncConnection.connect(dsn) as reader:
            with Worker(peer, dsn, jobs=1, command=peer.TALKING_WORKER) as worker:
                await producer.enqueue_one(peers.job(0))
                await asyncio.to_thread(worker.next_start)  # it serves
                claimer = await (await reader.execute(CLAIMER)).fetchone()
                await reader.rollback()
                await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await reader.execute("SELECT count(*) FROM pgqueue.jobs")
                claiming = [used_seconds(claimer[0]) if claimer else math.nan]
                for leg in (WINDOW, seconds - 2 * WINDOW, WINDOW):
                    await enqueue_steadily(producer, leg)
                    claiming.append(used_seconds(claimer[0]) if claimer else math.nan)
                await asyncio.sleep(1)
                claims = claim_times(worker.all_output())
        with psycopg.connect(dsn) as conn:
            pickups = conn.execute(PICKUPS).fetchall()[1:]
    return claims | claim_cost(claiming) | pickup_times(pickups)


def claim_times(log: str) -> dict[str, float]:
    """How long the claims that found something took, as the worker saw it."""
    claims = [(datetime.fromisoformat(at).timestamp(), float(ms)) for at, ms in CLAIMED.findall(log)][1:]
    begin, end = claims[0][0], claims[-1][0]
    first = median(ms for at, ms in claims if at - begin < WINDOW)
    last = median(ms for at, ms in claims if end - at < WINDOW)
    return {"claim_p50_growth": last / first, "claim_p50_ms_first": first, "claim_p50_ms_last": last}


def claim_cost(claiming: list[float]) -> dict[str, float]:
    jobs = RATE * WINDOW
    first, last = (1e6 * used / jobs for used in (claiming[1] - claiming[0], claiming[3] - claiming[2]))
    return {"claim_growth": last / first, "claim_us_first": first, "claim_us_last": last}


def pickup_times(pickups: list[tuple[Any, ...]]) -> dict[str, float]:
    begin, end = pickups[0][0], pickups[-1][0]
    first = 1000 * median(pickup for at, pickup in pickups if at - begin < WINDOW)
    last = 1000 * median(pickup for at, pickup in pickups if end - at < WINDOW)
    return {
        "pickup_growth": last / first,
        "pickup_ms_first": first,
        "pickup_ms_last": last,
        "served": len(pickups),
    }


async def enqueue_steadily(producer: peers.Producer, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    begin, batch = loop.time(), int(RATE * TICK)
    for tick in range(int(seconds / TICK)):
        await asyncio.sleep(begin + tick * TICK - loop.time())
        await producer.enqueue_many([peers.job(tick * batch + i) for i in range(batch)])
