"""pgqueue: steps by ``job.astep``, and workflows by ``app.aenqueue_workflow``."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg

import pgqueue
from bench import probe
from bench.durable.systems import AT_ONCE, Orders, Workflows, double
from bench.peers import count_by_sql
from bench.peers import pgqueue as ours
from pgqueue import chain, group

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


@app.task(name="node")
async def node(n: int) -> int:
    return double(n)


@app.task(name="last")
async def last(n: int) -> int:
    return double(n)


@app.task(name="listen")
async def listen(job: pgqueue.Job, n: int) -> None:
    await job.await_for("go")
    probe.job_started(n)


@app.task(name="nap")
async def nap(job: pgqueue.Job, n: int) -> None:
    await job.asleep("nap", "1d")
    probe.job_started(n)


@app.task(name="start")
async def start(n: int, note: str = "") -> None:  # noqa: ARG001
    probe.job_started(n)


def command(at_once: int, orders: Orders) -> list[str]:  # noqa: ARG001
    return [sys.executable, "-m", "pgqueue", "work", "-A", "bench.durable.pgqueue:app", "-c", str(at_once)]


def store_orders(dsn: str, at_once: int, orders: Orders) -> None:  # noqa: ARG001
    with psycopg.connect(dsn) as conn:
        order.using(conn).enqueue_many(
            [{"n": n, "steps": orders.steps, "pause": orders.pause} for n in range(orders.jobs)]
        )


def node_command() -> list[str]:
    return command(AT_ONCE, Orders(0, 0))


ENDED = "SELECT count(*) FROM pgqueue.nodes WHERE name = 'last' AND state = 'completed'"


def workflow_counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, ENDED)


async def store_workflows(dsn: str, workflows: Workflows) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        for _ in range(workflows.count):
            await app.aenqueue_workflow(made(workflows), using=conn)


def made(workflows: Workflows) -> pgqueue.Chain:
    if workflows.length:
        return chain(*(node.job(n) for n in range(workflows.length - 1)), last.job(workflows.length))
    return chain(node.job(0), group(node.job(n) for n in range(workflows.width)), last.job(workflows.width))
