"""Measures four workers that end the members of groups at the same time, beside four workers that end as many plain jobs."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from bench import drain, probe, variants
from bench.durable import pgqueue as ours
from bench.server import fresh_database, settle
from bench.worker import Worker
from pgqueue import group

FOUR = variants.Variant("x4", processes=4)
GROUPS, WIDTH = 10, 1_000
JOBS = GROUPS * WIDTH


def store_groups(conn: psycopg.Connection[Any]) -> None:
    for _ in range(GROUPS):
        ours.app.enqueue_workflow(group(ours.start.job(n) for n in range(WIDTH)), using=conn)


def store_plain(conn: psycopg.Connection[Any]) -> None:
    ours.start.using(conn).enqueue_many([{"n": n % WIDTH} for n in range(JOBS)])


def measure(server: str) -> dict[str, dict[str, float]]:
    siblings, plain = rate(server, store_groups), rate(server, store_plain)
    return {
        "siblings": {"ends_per_s": siblings, "ends_share": 100 * siblings / plain},
        "others": {"ends_per_s": plain},
    }


def rate(server: str, store: Callable[[psycopg.Connection[Any]], None]) -> float:
    """Returns how many jobs a second end, from the first start of a handler on. The workers claim nothing until all of them have started."""
    with fresh_database(server) as dsn:
        asyncio.run(ours.setup(dsn))
        with psycopg.connect(dsn) as conn:
            store(conn)
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn, ours.counter(dsn) as finished:
            drain.hold(conn, FOUR)
            with Worker(FOUR, dsn, 1, ours.node_command(), FOUR.processes) as worker:
                drain.let_go(conn, FOUR)
                first = worker.next_start()
                drain.wait_until(finished, JOBS)
                return JOBS / (probe.now() - first)
