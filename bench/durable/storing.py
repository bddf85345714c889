"""Measures what it costs to store a workflow of 10,000 nodes, beside 10,000 jobs that wait for nothing, and rows for as many edges."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from bench import probe
from bench.cost import Bill
from bench.durable import pgqueue as ours
from bench.server import fresh_database
from pgqueue import chain, group

LAYERS, WIDTH = 100, 100
JOBS = LAYERS * WIDTH
# Layer after layer waits for the one before. Between two layers, there is the node of a group, with an edge from and to each job.
EDGES = 2 * WIDTH * (LAYERS - 1)
LIKE = "CREATE TABLE edges (LIKE pgqueue.dependencies INCLUDING ALL)"


def store_workflow(conn: psycopg.Connection[Any]) -> None:
    layers = [group(ours.node.job(n) for n in range(WIDTH)) for _ in range(LAYERS)]
    ours.app.enqueue_workflow(chain(*layers), using=conn)


def store_plain(conn: psycopg.Connection[Any]) -> None:
    ours.node.using(conn).enqueue_many([{"n": n % WIDTH} for n in range(JOBS)])
    conn.execute("INSERT INTO edges SELECT n, n + 1 FROM generate_series(1, %s) n", [EDGES])


def measure(server: str) -> dict[str, dict[str, float]]:
    """Returns the seconds and the bytes of the log, each in a database of its own, without the full-page images of the log."""
    workflow, plain = cost(server, store_workflow), cost(server, store_plain)
    return {"workflow": workflow | {"log_ratio": workflow["log_mb"] / plain["log_mb"]}, "plain": plain}


def cost(server: str, store: Callable[[psycopg.Connection[Any]], None]) -> dict[str, float]:
    with fresh_database(server) as dsn:
        asyncio.run(ours.setup(dsn))
        with psycopg.connect(dsn, autocommit=True) as watching, psycopg.connect(dsn) as conn:
            watching.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
            watching.execute(LIKE)
            bill = Bill(watching, dsn)
            begin = probe.now()
            store(conn)
            conn.commit()
            seconds = probe.now() - begin
            return {"store_s": seconds, "log_mb": bill.per_job(1)["wal_bytes"] / 1e6}
