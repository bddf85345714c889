"""Measures the steps of jobs: how many a second, and how many round trips each of them costs."""

import asyncio
import time

import psycopg

from bench import drain, peers, probe
from bench.cpu import Meter, backends
from bench.durable.systems import Orders, StepSystem
from bench.durable.trips import counted
from bench.server import fresh_database, settle
from bench.worker import Worker

STEPS = 5
LONG = Orders(jobs=1, steps=200, pause=2.0)


def rate(server: str, system: StepSystem, at_once: int, scale: float) -> dict[str, float]:
    """Returns the rate of steps of one worker process, from the first start of a job until all jobs are finished."""
    orders = Orders(max(2 * at_once, int(system.STEP_JOBS[at_once] * scale)), STEPS)
    with fresh_database(server) as dsn:
        asyncio.run(system.setup(dsn))
        system.store_orders(dsn, at_once, orders)
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn, system.counter(dsn) as finished:
            mine = backends(conn)
            with Worker(peers.load("pgqueue"), dsn, 1, system.command(at_once, orders)) as worker:
                first = worker.next_start()
                meter = Meter(conn, *worker.leaders(), ignored=mine)
                drain.wait_until(finished, orders.jobs)
                seconds = probe.now() - first
                costs = meter.per_job(orders.jobs * STEPS)
    return {"steps_per_s": orders.jobs * STEPS / seconds, **costs}


def trips(server: str, system: StepSystem) -> dict[str, float]:
    """Returns how many round trips each step of one long job costs.

    The job begins with a pause. The round trips that the worker makes during the pause, such as heartbeats, are not counted to the steps.
    """
    with fresh_database(server) as dsn:
        asyncio.run(system.setup(dsn))
        system.store_orders(dsn, 1, LONG)
        command = system.command(1, LONG)
        with (
            counted(dsn) as found,
            system.counter(dsn) as finished,
            Worker(peers.load("pgqueue"), found.dsn, 1, command) as worker,
        ):
            worker.next_start()
            time.sleep(LONG.pause / 4)  # until the worker has done what it does when a job starts
            begin, before = probe.now(), found.count
            time.sleep(LONG.pause / 2)
            middle, idle = probe.now(), found.count
            drain.wait_until(finished, LONG.jobs)
            end, after = probe.now(), found.count
    others = (idle - before) / (middle - begin) * (end - middle)
    return {"round_trips": (after - idle - others) / LONG.steps}
