"""Measures how soon a job goes on after a signal, and how soon a new job starts, in turns, in a worker process that is idle otherwise."""

import asyncio
import random
import time

import psycopg

from bench import peers, probe
from bench.durable import pgqueue as ours
from bench.load import wait_for
from bench.report import percentiles
from bench.server import fresh_database, settle
from bench.worker import Worker

SAMPLES = 150
GAP = 0.03
LISTENING = "SELECT count(*) FROM pgqueue.waiting"


def measure(server: str, scale: float) -> dict[str, dict[str, float]]:
    """Returns the times from just before a commit until the code runs that the commit has set in motion.

    ``signal``: the code after ``await_for``, in the handler of a job that has waited for the signal. ``pickup``: the handler of a new job.
    """
    samples = max(20, int(SAMPLES * scale))
    with fresh_database(server) as dsn:
        asyncio.run(ours.setup(dsn))
        command = ours.node_command()
        with psycopg.connect(dsn) as conn, Worker(peers.load("pgqueue"), dsn, command=command) as worker:
            waiting = ours.listen.using(conn).enqueue_many([{"n": n} for n in range(samples)])
            conn.commit()
            wait_for(conn, LISTENING, samples)
            conn.commit()
            settle(dsn)
            asks = {
                "signal": lambda n: waiting[n].signal("go", using=conn),
                "pickup": lambda n: ours.start.using(conn).enqueue(n=n),
            }
            found: dict[str, list[float]] = {what: [] for what in asks}
            for n in range(samples):
                for what, ask in asks.items():
                    time.sleep(GAP * random.uniform(1, 2))
                    ask(n)
                    before = probe.now()
                    conn.commit()
                    found[what].append(worker.next_start() - before)
    values = {what: percentiles(seconds) for what, seconds in found.items()}
    values["signal"]["pickup_ratio"] = values["signal"]["p50_ms"] / values["pickup"]["p50_ms"]
    return values
