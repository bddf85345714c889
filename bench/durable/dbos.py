"""dbos. The settings are the fastest of those that were tried.

One job at once: the process calls the workflow directly, as in the first example of the README. A queue would add the wait until its next
poll to each job. 50 jobs at once: workflows on a queue with ``worker_concurrency=50``, as in the tutorial on queues, with a shorter polling
interval. They are ``def`` functions, which dbos runs in threads, because ``async def`` workflows and a pool of 50 instead of 20 connections
(the default of ``sys_db_pool_size``) were slower.

dbos has no graphs that are stored beforehand: a workflow calls others. The nodes of a chain are workflows that the chain calls directly, one
after another. The wide part of a fan is enqueued, and the fan waits for each result, as in the tutorial on queues.
"""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench import probe
from bench.durable.systems import AT_ONCE, Orders, Workflows, double
from bench.peers import QUEUE, count_by_sql
from bench.peers import dbos as peer

VERSION = peer.VERSION
SETTINGS = f"1 at once: direct calls; 50: queue, worker_concurrency=50, polling_interval_sec={peer.POLLING}, pool of 20"
STEP_JOBS = {1: 60, 50: 400}
ORDERS: EnqueueOptions = {"workflow_name": "order", "queue_name": QUEUE}

setup = peer.setup
counter = peer.counter


def command(at_once: int, orders: Orders) -> list[str]:
    return [sys.executable, "-m", "bench.durable.dbos", *map(str, (at_once, *orders))]


def store_orders(dsn: str, at_once: int, orders: Orders) -> None:
    if at_once == 1:
        return
    client = DBOSClient(system_database_url=peer.url(dsn))
    for n in range(orders.jobs):
        client.enqueue(ORDERS, n, orders.steps, orders.pause)
    client.destroy()


def node_command() -> list[str]:
    return command(AT_ONCE, Orders(0, 0))


ENDED = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS' AND name IN ('chain', 'fan')"


def workflow_counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, ENDED)


async def store_workflows(dsn: str, workflows: Workflows) -> None:
    options: EnqueueOptions = {"workflow_name": "chain" if workflows.length else "fan", "queue_name": QUEUE}
    client = DBOSClient(system_database_url=peer.url(dsn))
    for _ in range(workflows.count):
        client.enqueue(options, workflows.length or workflows.width)
    client.destroy()


def work(at_once: int, orders: Orders) -> None:
    starts = itertools.count(1)  # next(starts) is atomic, so no two threads get the same number
    step = DBOS.step(name="double")(double)

    @DBOS.workflow(name="order")
    def order(n: int, steps: int, pause: float) -> None:
        probe.report(next(starts), n)
        time.sleep(pause)
        for number in range(steps):
            step(number)

    @DBOS.workflow(name="node")
    def node(n: int) -> int:
        return double(n)

    @DBOS.workflow(name="chain")
    def chain(length: int) -> None:
        for n in range(length):
            node(n)

    @DBOS.workflow(name="fan")
    def fan(width: int) -> None:
        node(0)
        for handle in [DBOS.enqueue_workflow(QUEUE, node, n) for n in range(width)]:
            handle.get_result(polling_interval_sec=peer.POLLING)
        node(width)

    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": peer.url(os.environ["BENCH_DSN"]),
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    if at_once == 1:
        for n in range(orders.jobs):
            order(n, orders.steps, orders.pause)
    else:
        DBOS.register_queue(QUEUE, polling_interval_sec=peer.POLLING, worker_concurrency=at_once)
    threading.Event().wait()


if __name__ == "__main__":
    count, jobs, steps, pause = sys.argv[1:]
    work(int(count), Orders(int(jobs), int(steps), float(pause)))
