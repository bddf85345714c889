"""dbos. The settings are the fastest of those that were tried.

One job at once: the process calls the workflow directly, as in the first example of the README. A queue would add the wait until its next
poll to each job. 50 jobs at once: workflows on a queue with ``worker_concurrency=50``, as in the tutorial on queues, with a shorter polling
interval. They are ``def`` functions, which dbos runs in threads, because ``async def`` workflows and a pool of 50 instead of 20 connections
(the default of ``sys_db_pool_size``) were slower.
"""

import itertools
import os
import sys
import threading
import time

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from bench import probe
from bench.durable.systems import Orders, double
from bench.peers import QUEUE
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


def work(at_once: int, orders: Orders) -> None:
    starts = itertools.count(1)  # next(starts) is atomic, so no two threads get the same number
    step = DBOS.step(name="double")(double)

    @DBOS.workflow(name="order")
    def order(n: int, steps: int, pause: float) -> None:
        probe.report(next(starts), n)
        time.sleep(pause)
        for number in range(steps):
            step(number)

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
