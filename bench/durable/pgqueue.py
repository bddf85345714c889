"""pgqueue: steps by ``job.astep``."""

import asyncio
import sys

import psycopg

import pgqueue
from bench import probe
from bench.durable.systems import Orders, double
from bench.peers import pgqueue as ours

VERSION = ours.VERSION
SETTINGS = "pgq work -c with the number of jobs at once"
STEP_JOBS = {1: 400, 50: 3_000}

app = pgqueue.App()
setup = ours.setup
counter = ours.counter


@app.task(name="order")
async def order(job: pgqueue.Job, n: int, steps: int, pause: float) -> None:
    probe.job_started(n)
    if pause:
        await asyncio.sleep(pause)
    for step in range(steps):
        await job.astep(("double", step), double, step)


def command(at_once: int, orders: Orders) -> list[str]:  # noqa: ARG001
    return [sys.executable, "-m", "pgqueue", "work", "-A", "bench.durable.pgqueue:app", "-c", str(at_once)]


def store_orders(dsn: str, at_once: int, orders: Orders) -> None:  # noqa: ARG001
    with psycopg.connect(dsn) as conn:
        order.using(conn).enqueue_many(
            [{"n": n, "steps": orders.steps, "pause": orders.pause} for n in range(orders.jobs)]
        )
