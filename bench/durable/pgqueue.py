"""pgqueue: steps by ``job.astep``, and workflows by the SQL function ``enqueue_workflow``."""

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg

import pgqueue
from bench import probe
from bench.durable.systems import AT_ONCE, Orders, Workflows, double
from bench.peers import count_by_sql
from bench.peers import pgqueue as ours

VERSION = ours.VERSION
SETTINGS = "pgq work -c with the number of jobs at once"
GROUP = 100
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
    nodes = chain(workflows.length) if workflows.length else fan(workflows.width)
    stored = json.dumps({"name": "bench", "nodes": nodes})
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        for _ in range(workflows.count):
            await conn.execute("SELECT pgqueue.enqueue_workflow(%s)", [stored])


def chain(length: int) -> list[dict[str, Any]]:
    names = [*map(str, range(length - 1)), "last"]
    return [made(n, name, names[n - 1 : n]) for n, name in enumerate(names)]


def fan(width: int) -> list[dict[str, Any]]:
    """The last node waits for groups of 100 nodes each, which is less to store and to count than a thousand edges to one node."""
    middle = [str(n) for n in range(1, width + 1)]
    groups = [{"name": f"group {at}", "group": middle[at : at + GROUP]} for at in range(0, width, GROUP)]
    last = made(width + 1, "last", [group["name"] for group in groups])
    return [made(0, "first"), *(made(int(name), name, ["first"]) for name in middle), *groups, last]


def made(n: int, name: str, after: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "task": "node", "args": {"n": n}, "after": after or []}
