"""absurd-sdk. One process has as many workers as jobs run at once, and each worker runs on a thread of its own and claims 10 jobs at once.

All jobs of a worker share one connection. So 50 workers of one job each are ten times as fast as one worker with ``concurrency=50``. The
guide of the Python SDK recommends to scale by worker processes, but here each system has only one process.

absurd-sdk has no graphs that are stored beforehand. Each node of a chain spawns the next node before it ends, under a key, so that a retry
spawns no second one. A fan spawns the wide part in a step and then waits for the result of each, as the guide shows. The guide wants the
fan in another queue than the nodes that it waits for. So the process has one worker more, for the queue of fans.
"""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from absurd_sdk import Absurd

from bench import probe
from bench.durable.systems import AT_ONCE, Orders, Workflows, double
from bench.peers import absurd as peer
from bench.peers import count_by_sql

VERSION = peer.VERSION
BATCH = 10
SETTINGS = f"sync workers, each with a thread and a connection of its own, concurrency=1, batch_size={BATCH}"
STEP_JOBS = {1: 100, 50: 600}

FANS = "fans"
counter = peer.counter


async def setup(dsn: str) -> None:
    await peer.setup(dsn)
    with psycopg.connect(dsn) as conn:
        Absurd(conn).create_queue(FANS)


def command(at_once: int, orders: Orders) -> list[str]:  # noqa: ARG001
    return [sys.executable, "-m", "bench.durable.absurd", str(at_once)]


def store_orders(dsn: str, at_once: int, orders: Orders) -> None:  # noqa: ARG001
    with psycopg.connect(dsn) as conn:
        client = Absurd(conn, queue_name=peer.QUEUE)
        for n in range(orders.jobs):
            client.spawn("order", {"n": n, "steps": orders.steps, "pause": orders.pause}, queue=peer.QUEUE)


starts = itertools.count(1)  # next(starts) is atomic, so no two threads get the same number


def order(params: Any, context: Any) -> None:
    probe.report(next(starts), params["n"])
    time.sleep(params["pause"])
    for step in range(params["steps"]):
        context.step(f"double {step}", lambda step=step: double(step))


def node_command() -> list[str]:
    return [*command(AT_ONCE, Orders(0, 0)), FANS]


ENDED = """SELECT (SELECT count(*) FROM absurd.t_fans WHERE state = 'completed')
                + (SELECT count(*) FROM absurd.t_default WHERE state = 'completed' AND task_name = 'link' AND params ->> 'left' = '0')"""


def workflow_counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, ENDED)


async def store_workflows(dsn: str, workflows: Workflows) -> None:
    with psycopg.connect(dsn) as conn:
        client = Absurd(conn)
        for _ in range(workflows.count):
            if workflows.length:
                client.spawn("link", {"left": workflows.length - 1}, queue=peer.QUEUE)
            else:
                client.spawn("fan", {"width": workflows.width}, queue=FANS)


def work(queue: str) -> None:
    worker = Absurd(os.environ["BENCH_DSN"], queue_name=queue)

    def link(params: Any, context: Any) -> int:
        if left := params["left"]:
            worker.spawn("link", {"left": left - 1}, idempotency_key=f"after {context.task_id}")
        return double(left)

    def node(params: Any, context: Any) -> int:  # noqa: ARG001
        return double(params["n"])

    def fan(params: Any, context: Any) -> int:
        def spread() -> list[str]:
            return [
                str(worker.spawn("node", {"n": n}, queue=peer.QUEUE)["task_id"])
                for n in range(params["width"])
            ]

        for child in context.step("spread", spread):
            context.await_task_result(child, queue_name=peer.QUEUE)
        return double(0)

    for function in [fan] if queue == FANS else [order, link, node]:
        worker.register_task(function.__name__)(function)
    worker.start_worker(batch_size=BATCH)


if __name__ == "__main__":
    queues = [peer.QUEUE] * int(sys.argv[1]) + sys.argv[2:]
    threads = [threading.Thread(target=work, args=[queue]) for queue in queues]
    for thread in threads:
        thread.start()
