"""How fast are the statements that enqueue, claim and settle, without a worker around them?

The statements are those of pgqueue, and the connections have the settings of a worker's connections. First a Python process runs a bare
loop without handlers: one connection claims 200 or 500 jobs, while another connection durably settles the jobs that were claimed before.
Then pgbench sends the same statements on one connection, without Python: again and again it enqueues, claims and settles 200 jobs.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping

import psycopg

from bench import peers
from bench.cpu import Meter, parent, reaped_seconds
from bench.peers import pgqueue as ours
from bench.report import OURS, Report
from bench.server import fresh_database, settle
from pgqueue.database import statements
from pgqueue.database.for_sqlalchemy import PARAMETER
from pgqueue.database.run import CLAIMING, PINNED, connect, connect_async, run_async
from pgqueue.database.run import run as run_statement
from pgqueue.database.statements.enqueuing import Stored
from pgqueue.dev.embedded.binaries import find_binaries
from pgqueue.errors import EmbeddedPostgresError
from pgqueue.model.new_job import NewJob, in_batches
from pgqueue.sql import Row, Statement
from pgqueue.worker.attempt import Attempt

TITLE = "the SQL statements alone, without a worker"
SHOWN = ["jobs_per_s", "client_us", "server_us"]
JOBS = 100_000
BATCH = 1_000
SIZES = (200, 500)
CYCLE = 200
SECONDS = 5

Measure = Callable[[str, float], dict[str, float]]


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if OURS not in systems:
        return
    measures: dict[str, Measure] = {"enqueue of 1,000": measure_enqueue}
    for size in SIZES:
        measures[f"loop of {size}"] = lambda dsn, scale, size=size: measure_loop(dsn, scale, size)
    if pgbench := find_pgbench():
        measures[f"pgbench cycle of {CYCLE}"] = lambda dsn, scale: measure_cycle(dsn, scale, pgbench)
    for round_ in range(rounds):
        for label, measure in measures.items():
            with fresh_database(server) as dsn:
                ours.migrate(dsn)
                report.take("limit", f"{OURS} {label}", round_, measure, dsn, scale)
    report.table("limit", TITLE, SHOWN)


# ------------------------------------------------------------------ the statements


def enqueue_of(jobs: list[NewJob]) -> Statement[list[Stored]]:
    return statements.enqueue_many(in_batches(jobs))


def claim_of(worker_id: int, since: tuple[float, int], count: int) -> Statement[list[Row]]:
    return statements.claim(worker_id, [ours.noop.name], [(ours.noop.spec.queue, 0)], [since], count)


def settle_of(worker_id: int, claimed: list[tuple[int, int]]) -> Statement[list[int]]:
    return statements.complete(worker_id, [(job_id, lease_id, True) for job_id, lease_id in claimed])


def register(dsn: str) -> int:
    with connect(dsn) as conn:
        return run_statement(conn, statements.register_worker(
            host="bench", pid=os.getpid(), version="", executor="async", slots=max(SIZES),
            queues=[ours.noop.spec.queue], tasks=[ours.noop.name], lease_seconds=3600,
        ))  # fmt: skip


def batch_of(size: int) -> list[NewJob]:
    return [ours.noop.job(**peers.job(n)) for n in range(size)]


# ------------------------------------------------------------------ by a bare loop


def measure_enqueue(dsn: str, scale: float) -> dict[str, float]:
    return asyncio.run(enqueue(dsn, max(5, int(JOBS * scale / BATCH))))


async def enqueue(dsn: str, calls: int) -> dict[str, float]:
    statement = enqueue_of(batch_of(BATCH))
    with psycopg.connect(dsn, autocommit=True) as watcher:
        async with await connect_async(dsn, name="bench") as conn:
            await run_async(conn, statement)
            meter, begin = Meter(watcher, os.getpid()), time.perf_counter()
            for _ in range(calls):
                await run_async(conn, statement)
            return figures(calls * BATCH, time.perf_counter() - begin, meter)


def measure_loop(dsn: str, scale: float, size: int) -> dict[str, float]:
    return asyncio.run(loop(dsn, int(JOBS * scale), size))


async def loop(dsn: str, jobs: int, size: int) -> dict[str, float]:
    await enqueue(dsn, max(1, jobs // BATCH))
    worker_id = register(dsn)
    settle(dsn)
    with psycopg.connect(dsn, autocommit=True) as watcher:
        async with (
            await connect_async(dsn, name="bench claim", session=CLAIMING) as claiming,
            await connect_async(dsn, name="bench settle") as settling,
        ):
            meter, begin, settled = Meter(watcher, os.getpid()), time.perf_counter(), 0
            held: list[Attempt] = []
            since = (0.0, 0)
            while True:
                rows, ended = await asyncio.gather(
                    run_async(claiming, claim_of(worker_id, since, size)),
                    run_async(settling, settle_of(worker_id, [(a.id, a.lease_id) for a in held])),
                )
                settled += len(ended)
                held = [Attempt(worker_id, row) for row in rows]
                if not held:
                    break
                since = max((attempt.run_at, attempt.id) for attempt in held)
            return figures(settled, time.perf_counter() - begin, meter)


def figures(jobs: int, seconds: float, meter: Meter) -> dict[str, float]:
    return {"jobs_per_s": jobs / seconds, "jobs": jobs, **meter.per_job(jobs)}


# ------------------------------------------------------------------ by pgbench


def find_pgbench() -> str | None:
    try:
        path = [str(find_binaries()), os.environ["PATH"]]
    except EmbeddedPostgresError:
        path = [os.environ["PATH"]]
    return shutil.which("pgbench", path=os.pathsep.join(path))


def measure_cycle(dsn: str, scale: float, pgbench: str) -> dict[str, float]:
    worker_id = register(dsn)
    settle(dsn)
    enqueued, claimed = enqueue_of(batch_of(CYCLE)), claim_of(worker_id, (0.0, 0), CYCLE)
    settled = settle_of(worker_id, [(n, 1) for n in range(CYCLE)])  # a job's first lease is number 1
    parameters = {**enqueued.parameters, **claimed.parameters, **settled.parameters}
    script = f"""
        select array_agg(e.id)::text as ids from ({for_pgbench(enqueued.text)}) e \\gset
        {for_pgbench(claimed.text)};
        {for_pgbench(settled.text)};"""
    del parameters["ids"]  # pgbench sets it to the ids that the first statement of the script returns
    with psycopg.connect(dsn, autocommit=True) as conn:
        postmaster = parent(conn.info.backend_pid)
        before, client = reaped_seconds(postmaster), os.times()
        cycles, seconds = run_pgbench(pgbench, dsn, script, parameters, max(1, round(SECONDS * scale)))
        after = os.times()
        (finished,) = conn.execute(ours.DONE).fetchone() or (0,)
    jobs = cycles * CYCLE
    if finished != jobs:
        raise RuntimeError(f"pgbench made {cycles} cycles of {CYCLE}, but {finished} jobs were settled")
    used = after.children_user + after.children_system - client.children_user - client.children_system
    return {
        "jobs_per_s": jobs / seconds,
        "jobs": jobs,
        "client_us": 1e6 * used / jobs,
        "server_us": 1e6 * (reaped_seconds(postmaster) - before) / jobs,
    }


def run_pgbench(
    pgbench: str, dsn: str, script: str, parameters: Mapping[str, object], seconds: int
) -> tuple[int, float]:
    """Runs pgbench for ``seconds``. Returns the number of cycles, and the seconds that they really took."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [pgbench, "-n", "-M", "prepared", "-c", "1", "-T", str(seconds), "-f", file.name]
        for name, value in parameters.items():
            command += ["-D", f"{name}={value}"]
        settings = re.findall(r"set (\w+) = '?([^;']+)", PINNED)
        options = " ".join("-c {}={}".format(name, value.replace(" ", r"\ ")) for name, value in settings)
        done = subprocess.run(
            [*command, dsn],
            env=os.environ | {"PGOPTIONS": options},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode or not found or not rate:
        raise RuntimeError(f"pgbench failed: {done.stdout}{done.stderr}")
    return int(found[1]), int(found[1]) / float(rate[1])


def for_pgbench(text: str) -> str:
    """Returns the statement with its parameters in pgbench's form ``:name``. pgbench sends values as text, and the statement casts them."""
    return PARAMETER.sub(r":\1", text).replace("%%", "%")
