"""Code that several questions share: storing millions of jobs, steady producers, many workers, sessions that hold a snapshot."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg

from bench import peers
from bench.cpu import TICKS, Meter
from bench.peers import pgqueue as ours
from bench.worker import Worker

TICK = 0.010
PATIENCE = 120.0

FILL = """
INSERT INTO pgqueue.jobs_live (task, queue, priority, run_at, created_at, args)
SELECT %(task)s, (%(queues)s::text[])[1 + n %% cardinality(%(queues)s::text[])], %(priority)s, at, at,
       jsonb_build_object('n', n, 'note', %(note)s::text)
FROM generate_series(1, %(jobs)s) n, LATERAL (
    SELECT now() - make_interval(secs => %(age)s * (1 - n * 0.5 / %(jobs)s)) AS at) due
"""


def migrate(dsn: str) -> None:
    asyncio.run(ours.setup(dsn))


def fill(
    conn: psycopg.Connection[Any],
    jobs: int,
    *,
    priority: int = 0,
    queues: list[str] | None = None,
    age: float = 3600.0,
    task: str = "noop",
) -> None:
    """Inserts pending jobs in one statement. The first job became due ``age`` seconds ago, and the last one half as many seconds ago."""
    parameters = {"task": task, "queues": queues or ["default"], "priority": priority, "age": age}
    conn.execute(FILL, parameters | {"jobs": jobs, "note": peers.NOTE})


def tidy(conn: psycopg.Connection[Any]) -> None:
    """Vacuums the table, as autovacuum would have done if the jobs had been enqueued slowly. Then makes a checkpoint."""
    conn.execute("VACUUM (ANALYZE) pgqueue.jobs_live")
    conn.execute("CHECKPOINT")


def drain(dsn: str, jobs: int, *options: str) -> dict[str, float]:
    """Measures how fast one worker process starts the first ``jobs`` jobs. Then the worker is stopped, even if there are more jobs."""
    with (
        psycopg.connect(dsn, autocommit=True) as conn,
        Worker(ours, dsn, jobs, command=[*ours.WORKER, *options]) as worker,
    ):
        first = worker.next_start()
        meter = Meter(conn, worker.process.pid)
        seconds = worker.next_start() - first
        return {"jobs_per_s": jobs / seconds, **meter.per_job(jobs)}


def against(values: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    """Returns ``values`` with two more entries that compare them with the values ``first``.

    ``kept_share`` is the rate in per cent of the rate of ``first``. ``cpu_ratio`` is the CPU time divided by the CPU time of ``first``. On
    a shared machine, the CPU time varies less than the rate.
    """
    cpu, first_cpu = (row["server_us"] + row["client_us"] for row in (values, first))
    return values | {
        "kept_share": 100 * values["jobs_per_s"] / first["jobs_per_s"],
        "cpu_ratio": cpu / first_cpu,
    }


@contextmanager
def held_snapshot(dsn: str, held: bool = True) -> Iterator[None]:
    """Keeps a REPEATABLE READ transaction open in another session, so that no dead row can be removed."""
    if not held:
        yield
        return
    with psycopg.connect(dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM pgqueue.queues")
        yield


@contextmanager
def fleet(dsn: str, size: int, jobs: int = 1, command: list[str] | None = None) -> Iterator[list[Worker]]:
    """Runs ``size`` worker processes. When the block begins, all are registered. When the block ends, all get SIGTERM at the same time."""
    with contextlib.ExitStack() as stack, psycopg.connect(dsn, autocommit=True) as conn:
        workers = [stack.enter_context(Worker(ours, dsn, jobs, command=command)) for _ in range(size)]
        registered = "SELECT count(*) FROM pgqueue.workers WHERE state = 'running'"
        wait_for(conn, registered, size)
        try:
            yield workers
        finally:
            for worker in workers:
                worker.process.terminate()


def wait_for(conn: psycopg.Connection[Any], count: str, wanted: int, patience: float = PATIENCE) -> None:
    """Waits until the query ``count`` returns at least ``wanted``."""
    deadline = time.monotonic() + patience
    while (found := number(conn, count)) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found} of {wanted} after {patience:g} s: {count}")
        time.sleep(0.05)


def number(conn: psycopg.Connection[Any], query: str, parameters: list[Any] | None = None) -> float:
    (value,) = conn.execute(query, parameters).fetchone() or (0,)  # type: ignore[arg-type]
    return float(value or 0)


def server_seconds(conn: psycopg.Connection[Any]) -> float:
    """Returns the CPU time of the whole server since its start. This includes all processes of the server, also those that have ended."""
    backend = int(number(conn, "SELECT pg_backend_pid()"))
    postmaster = _stat(backend)[1]
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    alive = sum(sum(stat[11:13]) for pid in processes if (stat := _stat(pid)) and stat[1] == postmaster)
    return (alive + sum(_stat(postmaster)[11:15])) / TICKS


def _stat(pid: int) -> list[int]:
    """Returns the numbers that follow the process name in /proc/PID/stat. The state is a letter there, so 0 replaces it.

    Returns [] if there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [0, *map(int, fields[1:])]


# ------------------------------------------------------------------ steady producers


@dataclass
class Offered:
    """How many jobs steady producers have enqueued, and how many seconds each call took, including its commit."""

    jobs: int = 0
    calls: list[float] = field(default_factory=list)


async def offer(dsn: str, rate: float, seconds: float, connections: int = 1) -> Offered:
    """Enqueues ``rate`` jobs a second for ``seconds`` seconds: each connection commits every 10 ms. If a producer is late, it skips no job."""
    offered = Offered()
    async with contextlib.AsyncExitStack() as stack:
        producers = [await stack.enter_async_context(ours.producer(dsn)) for _ in range(connections)]
        await asyncio.gather(*(_offer(p, rate / connections, seconds, offered) for p in producers))
    return offered


async def _offer(producer: ours.Producer, rate: float, seconds: float, offered: Offered) -> None:
    loop = asyncio.get_running_loop()
    begin, sent = loop.time(), 0
    for tick in range(1, int(seconds / TICK) + 1):
        await asyncio.sleep(begin + tick * TICK - loop.time())
        batch = [peers.job(n) for n in range(sent, int(rate * TICK * tick))]
        before = time.perf_counter()
        await producer.enqueue_many(batch)
        offered.calls.append(time.perf_counter() - before)
        sent += len(batch)
        offered.jobs += len(batch)


@asynccontextmanager
async def sampling(
    dsn: str, query: str, parameters: list[Any], every: float = 0.05
) -> AsyncIterator[list[int]]:
    """Runs a query every ``every`` seconds while the block runs. Yields the list into which it writes each count that the query returns."""
    samples: list[int] = []

    async def sample(conn: psycopg.AsyncConnection[Any]) -> None:
        while True:
            row = await (await conn.execute(query, parameters)).fetchone()
            samples.append(row[0] if row else 0)
            await asyncio.sleep(every)

    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        task = asyncio.create_task(sample(conn))
        try:
            yield samples
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


# ------------------------------------------------------------------ figures

PICKUPS = """
SELECT extract(epoch FROM created_at)::float8, extract(epoch FROM started_at - created_at)::float8
FROM pgqueue.jobs WHERE started_at IS NOT NULL AND task = 'noop' ORDER BY created_at"""


def pickups(conn: psycopg.Connection[Any]) -> list[tuple[float, float]]:
    """Returns, for each started job, when it was enqueued and how many seconds later it was claimed, by the database's clock."""
    return conn.execute(PICKUPS).fetchall()


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]
