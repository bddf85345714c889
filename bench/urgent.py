"""How soon does an urgent job start while a worker works through a million other jobs?

Target: the pickup p99 is at most 20 ms. A pickup is the time from just before the commit of an urgent job (priority -10) to the start of
its handler. Urgent jobs are enqueued one at a time, while less urgent jobs fill all slots of the worker process. ``one queue``: one queue
holds the 1 M less urgent jobs. ``50 queues``: 50 queues together hold the 1 M jobs, which have three priorities; 90 % of them have the
least urgent priority. Both cases are also measured while another session holds a snapshot.
"""

import asyncio
import random

import psycopg

import pgqueue
from bench import peers, probe
from bench.load import fill, held_snapshot, migrate, number, sampling, tidy
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target, percentiles
from bench.server import fresh_database
from bench.worker import Worker

TITLE = "time until an urgent job starts, while a worker process works through a million other jobs"
SAMPLES = 500
BACKLOG = 1_000_000
GAP = 0.020
# The priorities of the less urgent jobs. With 50 queues, 90 % of these jobs have the priority 2.
LATER = (0, 1, 2)
SHOWN = ["p50_ms", "p95_ms", "p99_ms", "max_ms", "samples", "others_per_s"]
HEADLINES = ["p99_ms"]
QUEUES = {"one queue": ["default"], "50 queues": [f"q{n}" for n in range(50)]}
TARGETS = [
    Target(
        f"pickup of an urgent job, p99 ms: {name}{held}",
        lambda results, system=f"pgqueue {name}{held}": results.median("urgent", "p99_ms", system),
        20,
        at_least=False,
    )
    for name in QUEUES
    for held in ("", ", held snapshot")
]

COMMAND = [word.replace("bench.peers.pgqueue:app", "bench.urgent:app") for word in ours.WORKER]
LEFT = "SELECT count(*)::int FROM pgqueue.jobs_live WHERE state = 'pending' AND task = 'noop'"
# The other jobs count as used up when the last of them is claimed. Counting a million rows every second would slow down the measured
# processes.
LAST = "SELECT max(id) FROM pgqueue.jobs_live"
WAITS = "SELECT count(*)::int FROM pgqueue.jobs_live WHERE id = %s AND state = 'pending'"

app = pgqueue.App()


@app.task(name="noop")
async def noop(n: int, note: str) -> None: ...


@app.task(name="urgent", priority=-10)
async def urgent(n: int, note: str) -> None:  # noqa: ARG001
    probe.job_started()


def run(server: str, systems: list[str], report: Report, rounds: int = 1, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    samples, backlog = max(50, int(SAMPLES * scale)), max(300_000, int(BACKLOG * scale))
    for round_ in range(rounds):
        for name, queues in QUEUES.items():
            for held in (False, True):
                values = measure(server, queues, samples, backlog, held)
                report.add(Measurement("urgent", f"pgqueue {name}{', held snapshot' * held}", round_, values))
    report.table("urgent", f"{TITLE}; here up to {samples} among {backlog:,}", SHOWN)


def measure(server: str, queues: list[str], samples: int, backlog: int, held: bool) -> dict[str, float]:
    with fresh_database(server) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            for priority in LATER if len(queues) > 1 else LATER[:1]:
                share = 1.0 if len(queues) == 1 else 0.9 if priority == LATER[-1] else 0.05
                fill(conn, int(backlog * share), priority=priority, queues=queues)
            tidy(conn)
            last = int(number(conn, LAST))
            with (
                held_snapshot(dsn, held),
                Worker(ours, dsn, command=[*COMMAND, "-Q", ",".join(queues)]) as worker,
            ):
                asyncio.run(pick_up(dsn, worker, queues, 5, last))  # now the worker runs the other jobs
                before, begun = number(conn, LEFT), probe.now()
                pickups = asyncio.run(pick_up(dsn, worker, queues, samples, last))
                others = (before - number(conn, LEFT)) / (probe.now() - begun)
                return percentiles(pickups) | {"samples": len(pickups), "others_per_s": others}


async def pick_up(dsn: str, worker: Worker, queues: list[str], samples: int, last: int) -> list[float]:
    """Returns the pickups of ``samples`` urgent jobs. Returns fewer if the worker has claimed all other jobs before that."""
    pickups: list[float] = []
    async with (
        await psycopg.AsyncConnection.connect(dsn) as conn,
        sampling(dsn, WAITS, [last], every=1.0) as left,
    ):
        while len(pickups) < samples and all(left):
            await urgent.using(conn, queue=random.choice(queues)).aenqueue(**peers.job(len(pickups)))
            before = probe.now()
            await conn.commit()
            pickups.append(await asyncio.to_thread(worker.next_start) - before)
            await asyncio.sleep(GAP * random.uniform(0.5, 1.5))
    return pickups
