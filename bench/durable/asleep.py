"""Measures what jobs cost that sleep or wait for a signal: to the claims of other jobs, and when they all wake at the same moment."""

import asyncio
import contextlib
import json
from statistics import median
from typing import Any

import psycopg

from bench import drain, peers, probe
from bench.durable import pgqueue as ours
from bench.load import fill, tidy, wait_for
from bench.server import fresh_database
from bench.worker import Worker
from pgqueue.database import statements
from pgqueue.database.run import run

ASLEEP = 100_000
CLAIMS, SIZE = 60, 100
AWOKEN = 10_000
AHEAD = 5.0  # the jobs are due this many seconds after the worker has become idle
SUSPENDED = (
    "SELECT count(*) FROM pgqueue.jobs_live WHERE state = 'waiting' OR (state = 'pending' AND run_at > now())"
)


def claims(server: str, scale: float) -> dict[str, dict[str, float]]:
    """Returns the cost of claims of 100 jobs: without other jobs, beside 100,000 that sleep, and beside as many that wait for a signal.

    The three databases take turns, claim by claim.
    """
    asleep = {"none": None, "sleeping": ours.nap, "waiting": ours.listen}
    with contextlib.ExitStack() as stack:
        conns = {}
        for name, task in asleep.items():
            dsn = stack.enter_context(fresh_database(server))
            asyncio.run(ours.setup(dsn))
            conns[name] = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            if task is not None:
                suspend(dsn, conns[name], task, max(1_000, int(ASLEEP * scale)))
            fill(conns[name], CLAIMS * SIZE)
            tidy(conns[name])
        workers = {name: registered(conn) for name, conn in conns.items()}
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in asleep}
        for _ in range(CLAIMS):
            for name, conn in conns.items():
                found[name].append(explained_claim(conn, workers[name]))
    costs = {
        name: {
            "claim_ms": median(cost[0] for cost in costs),
            "claim_buffers": median(cost[1] for cost in costs),
        }
        for name, costs in found.items()
    }
    for name in ("sleeping", "waiting"):
        for value in ("claim_ms", "claim_buffers"):
            ratio = costs[name][value] / costs["none"][value]
            costs[name][f"{value.removesuffix('_ms')}_ratio"] = ratio
    return {f"beside {name}": values for name, values in costs.items()}


def registered(conn: psycopg.Connection[Any]) -> int:
    worker = statements.register_worker(
        host="bench", pid=1, version="0", executor="async", slots=SIZE, queues=["default"], tasks=["noop"], lease_seconds=600,
    )  # fmt: skip
    return run(conn, worker)


def explained_claim(conn: psycopg.Connection[Any], worker: int) -> tuple[float, int]:
    """Claims jobs as an idle worker does. Returns the milliseconds of the claim, and the number of pages that it has read."""
    claim = statements.claim(worker, ["noop"], [("default", 0)], [(0.0, 0)], SIZE)
    cursor = conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim.text}", claim.parameters)  # type: ignore[arg-type]
    (plans,) = cursor.fetchone() or ([],)
    plan = (json.loads(plans) if isinstance(plans, str) else plans)[0]
    return plan["Execution Time"], plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]


def wakes(server: str, scale: float) -> dict[str, dict[str, float]]:
    woken, due = (wake(server, task, scale) for task in (ours.nap, ours.start))
    return {"woken": {"wake_s": woken, "wake_ratio": woken / due}, "due": {"wake_s": due}}


def wake(server: str, task: Any, scale: float) -> float:
    """Returns the seconds from the moment at which many jobs are due until the last of their handlers goes on in one idle worker process.

    ``task`` is a task whose jobs sleep until then, or one whose jobs are new.
    """
    jobs = max(1_000, int(AWOKEN * scale))
    with fresh_database(server) as dsn:
        asyncio.run(ours.setup(dsn))
        with psycopg.connect(dsn, autocommit=True) as conn:
            if task is ours.nap:
                suspend(dsn, conn, task, jobs)
            else:
                fill(conn, jobs, task=task.name)
            conn.execute("UPDATE pgqueue.jobs_live SET run_at = now() + interval '1 day'")
            tidy(conn)
            with (
                Worker(peers.load("pgqueue"), dsn, jobs, ours.node_command()) as worker,
                ours.counter(dsn) as finished,
            ):
                wait_for(conn, "SELECT count(*) FROM pgqueue.workers WHERE state = 'running'", 1)
                begin = probe.now()
                (moment,) = conn.execute("SELECT now() + make_interval(secs => %s)", [AHEAD]).fetchone() or (
                    None,
                )
                conn.execute(
                    "UPDATE pgqueue.checkpoints SET value = jsonb_build_object('until', %s::timestamptz)",
                    [moment],
                )
                conn.execute("UPDATE pgqueue.jobs_live SET run_at = %s", [moment])
                worker.next_start()
                last = worker.next_start()
                drain.wait_until(finished, jobs)
    return last - begin - AHEAD


COPY_JOB = """
INSERT INTO pgqueue.jobs_live
SELECT made.* FROM pgqueue.jobs_live l CROSS JOIN generate_series(1, %(copies)s) n
CROSS JOIN LATERAL jsonb_populate_record(l, jsonb_build_object('id', l.id + n)) made
WHERE l.id = %(job)s"""
COPY_CHECKPOINT = """
INSERT INTO pgqueue.checkpoints
SELECT made.* FROM pgqueue.checkpoints c CROSS JOIN pgqueue.jobs_live l
CROSS JOIN LATERAL jsonb_populate_record(c, jsonb_build_object('job_id', l.id)) made
WHERE c.job_id = %(job)s AND l.id > %(job)s"""


def suspend(dsn: str, conn: psycopg.Connection[Any], task: Any, jobs: int) -> None:
    """Makes ``jobs`` suspended jobs. A worker suspends one, whose rows are copied, because suspending 100,000 takes long."""
    with conn.transaction():
        job = task.using(conn).enqueue(n=0)
    with Worker(peers.load("pgqueue"), dsn, command=ours.node_command()):
        wait_for(conn, SUSPENDED, 1)
    for copy in (COPY_JOB, COPY_CHECKPOINT):
        conn.execute(copy, {"copies": jobs - 1, "job": job.id})
    conn.execute("SELECT setval('pgqueue.jobs_id_seq', max(id)) FROM pgqueue.jobs_live")
