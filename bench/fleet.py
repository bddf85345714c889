"""Do many workers cost more than few workers, and many queues more than few queues?

There are two targets. First, if 100 workers work through one queue, a job costs at most 1.5 times as much CPU time, in the server and the
workers together, as with 4 workers. Second, if one worker serves 1,000 queues, its rate is at least 0.8 of its rate with one queue.

When workers are compared, all jobs are stored in one commit while the workers are idle. The time runs from the first claim to the end of
the last job, by the clock of the database. 20 times a second, the sessions that wait for a lock are counted; ``lock_waits`` is the mean of
these counts.
"""

import asyncio
from statistics import mean
from typing import Any

import psycopg

from bench.cpu import used_seconds
from bench.load import against, drain, fill, fleet, migrate, number, sampling, server_seconds, tidy
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "4 or 100 worker processes work through one queue; one worker works through 1 or 1,000 queues"
JOBS = 200_000
SLOTS = 400  # all workers together have this many slots
SIZES = {"few": 4, "many": 100}
QUEUES = 1_000
SHOWN = ["jobs_per_s", "server_us", "client_us", "kept_share", "cpu_ratio", "lock_waits"]
HEADLINES = ["jobs_per_s", "cpu_ratio"]
TARGETS = [
    Target(
        "CPU time of a job with 100 workers, divided by that with 4",
        lambda results: results.median("fleet", "cpu_ratio", "pgqueue many workers"),
        1.5,
        at_least=False,
    ),
    Target(
        "rate of one worker with 1,000 queues, % of its rate with one queue",
        lambda results: results.median("fleet", "kept_share", "pgqueue many queues"),
        80,
    ),
]

LEFT = "SELECT count(*) FROM pgqueue.jobs_live"
SPAN = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM pgqueue.jobs"
LOCK_WAITS = "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def run(server: str, systems: list[str], report: Report, rounds: int = 2, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    jobs = max(20_000, int(JOBS * scale))
    sizes = {"few": SIZES["few"], "many": max(10, int(SIZES["many"] * scale))}
    queues = {"few": 1, "many": max(50, int(QUEUES * scale))}
    for round_ in range(rounds):
        rows = {f"{name} workers": drain_together(server, size, jobs) for name, size in sizes.items()}
        rows |= {f"{name} queues": drain_queues(server, count, jobs) for name, count in queues.items()}
        for name, values in rows.items():
            first = rows["few workers" if name.endswith("workers") else "few queues"]
            report.add(Measurement("fleet", f"pgqueue {name}", round_, against(values, first)))
    title = f"{TITLE}; here {jobs:,} jobs, {sizes['many']} workers, {queues['many']} queues"
    report.table("fleet", title, SHOWN)


def drain_together(server: str, size: int, jobs: int) -> dict[str, float]:
    command = [*ours.WORKER[:-1], str(SLOTS // size)]
    with fresh_database(server) as dsn:
        migrate(dsn)
        settle(dsn)
        with fleet(dsn, size, command=command) as workers, psycopg.connect(dsn, autocommit=True) as conn:
            pids = [worker.process.pid for worker in workers]
            with conn.transaction():
                fill(conn, jobs)
                server_before, client_before = server_seconds(conn), sum(map(used_seconds, pids))
            waits = asyncio.run(until_empty(dsn))
            server_used = server_seconds(conn) - server_before
            client_used = sum(map(used_seconds, pids)) - client_before
            return {
                "jobs_per_s": jobs / number(conn, SPAN),
                "server_us": 1e6 * server_used / jobs,
                "client_us": 1e6 * client_used / jobs,
                "lock_waits": mean(waits),
            }


async def until_empty(dsn: str) -> list[int]:
    async with (
        sampling(dsn, LOCK_WAITS, []) as waits,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn,
    ):
        async with asyncio.timeout(600):
            while await left(conn):
                await asyncio.sleep(0.1)
    return waits


async def left(conn: psycopg.AsyncConnection[Any]) -> int:
    (count,) = await (await conn.execute(LEFT)).fetchone() or (0,)
    return int(count)


def drain_queues(server: str, count: int, jobs: int) -> dict[str, float]:
    queues = [f"q{n}" for n in range(count)]
    with fresh_database(server) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            fill(conn, jobs, queues=queues)
            tidy(conn)
        return drain(dsn, jobs, "-Q", ",".join(queues))
