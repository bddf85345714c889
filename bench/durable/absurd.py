"""absurd-sdk. One process has as many workers as jobs run at once, and each worker runs on a thread of its own and claims 10 jobs at once.

All jobs of a worker share one connection. So 50 workers of one job each are ten times as fast as one worker with ``concurrency=50``. The
guide of the Python SDK recommends to scale by worker processes, but here each system has only one process.
"""

import itertools
import os
import sys
import threading
import time
from typing import Any

import psycopg
from absurd_sdk import Absurd

from bench import probe
from bench.durable.systems import Orders, double
from bench.peers import absurd as peer

VERSION = peer.VERSION
BATCH = 10
SETTINGS = f"sync workers, each with a thread and a connection of its own, concurrency=1, batch_size={BATCH}"
STEP_JOBS = {1: 100, 50: 600}

setup = peer.setup
counter = peer.counter


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


def work() -> None:
    worker = Absurd(os.environ["BENCH_DSN"], queue_name=peer.QUEUE)
    worker.register_task("order")(order)
    worker.start_worker(batch_size=BATCH)


if __name__ == "__main__":
    threads = [threading.Thread(target=work) for _ in range(int(sys.argv[1]))]
    for thread in threads:
        thread.start()
