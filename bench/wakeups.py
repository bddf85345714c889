"""What do wake-ups cost the application?

Target: with wake-ups, there are at least 0.85 times as many commits a second as without wake-ups.

64 clients of pgbench commit transactions as fast as they can; each transaction inserts a business row and enqueues a job. Meanwhile 50
sessions listen, and two of these belong to real workers. ``saturated``: the queue has a backlog, so the workers always find jobs.
``served``: the workers run the jobs of the clients as fast as the machine allows. ``unserved``: the workers serve another queue, so no
worker marks the clients' queue as busy. After each run, a second run sends no wake-ups: in ``pgqueue.wake``, a function that does
nothing replaces ``pg_notify``.
"""

import asyncio
import contextlib
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from bench import peers
from bench.load import fill, fleet
from bench.peers import pgqueue as ours
from bench.report import Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "64 clients commit a business row with a job while 50 sessions listen"
SECONDS = 10.0
CLIENTS = 64
LISTENERS = 50
WORKERS = 2
SHOWN = ["kept_share", "commits_per_s", "silent_per_s", "latency_ms", "silent_latency_ms"]
BACKLOG = 40_000  # jobs that are stored for each second of the run; the workers cannot run so many
STATES = ("saturated", "served", "unserved")
TARGETS = [
    Target(
        f"commits with wake-ups, % of the commits without ({state} queue)",
        lambda results, system=f"pgqueue {state}": results.median("wakeups", "kept_share", system),
        85,
    )
    for state in STATES
]

SCRIPT = f"""
BEGIN;
INSERT INTO orders (note) VALUES ('an order');
SELECT pgqueue.enqueue('noop', '{{"n": 1, "note": "{peers.NOTE}"}}', '{{"queue": "default"}}');
COMMIT;
"""
SILENT = "CREATE FUNCTION pgqueue.no_notify(text, text) RETURNS void LANGUAGE sql AS ''"
TRANSACTIONS = re.compile(r"^tps = (\S+)", re.MULTILINE)
LATENCY = re.compile(r"^latency average = (\S+) ms", re.MULTILINE)


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    seconds = max(3, round(SECONDS * scale))
    for round_ in range(rounds):
        for state in STATES:
            loud, silent = (
                asyncio.run(measure(server, state, seconds, wakes=wakes)) for wakes in (True, False)
            )
            values = {
                "kept_share": 100 * loud["commits_per_s"] / silent["commits_per_s"],
                **loud,
                "silent_per_s": silent["commits_per_s"],
                "silent_latency_ms": silent["latency_ms"],
            }
            report.add(Measurement("wakeups", f"pgqueue {state}", round_, values))
    report.table("wakeups", f"{TITLE}: {seconds} s", SHOWN)


async def measure(server: str, state: str, seconds: int, *, wakes: bool) -> dict[str, float]:
    with fresh_database(server) as dsn:
        await ours.setup(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(
                "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)"
            )
            if not wakes:
                silence(conn)
            settle(dsn)
            queue = "elsewhere" if state == "unserved" else "default"
            with fleet(dsn, WORKERS, command=[*ours.WORKER, "-Q", queue]):
                if state == "saturated":
                    fill(conn, BACKLOG * seconds)
                async with listening(dsn, LISTENERS - WORKERS):
                    return await asyncio.to_thread(pgbench, dsn, seconds)


def silence(conn: psycopg.Connection[Any]) -> None:
    """Replaces ``pg_notify`` in ``pgqueue.wake``, the function by which enqueuing wakes workers."""
    (body,) = conn.execute("SELECT pg_get_functiondef('pgqueue.wake'::regproc)").fetchone() or ("",)
    quiet = body.replace("pg_notify(", "pgqueue.no_notify(")
    if quiet == body:
        raise RuntimeError("pgqueue.wake calls no pg_notify that could be replaced")
    conn.execute(SILENT)
    conn.execute(quiet)


def pgbench(dsn: str, seconds: int) -> dict[str, float]:
    from pgqueue.dev.embedded.binaries import executable_binaries

    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        options = [
            "-n",
            "-M",
            "prepared",
            "-c",
            str(CLIENTS),
            "-j",
            "2",
            "-T",
            str(seconds),
            "-f",
            script.name,
        ]
        command = [str(executable_binaries() / "pgbench"), *options, dsn]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    commits, latency = TRANSACTIONS.search(done.stdout), LATENCY.search(done.stdout)
    if done.returncode or not commits or not latency:
        raise RuntimeError(f"pgbench failed: {done.stdout}{done.stderr}")
    return {"commits_per_s": float(commits[1]), "latency_ms": float(latency[1])}


@asynccontextmanager
async def listening(dsn: str, count: int) -> AsyncIterator[None]:
    """Opens ``count`` sessions that listen as an idle worker does, and read each notification."""

    async def listen(conn: psycopg.AsyncConnection[Any]) -> None:
        async for _ in conn.notifies():
            pass

    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
            for _ in range(count)
        ]
        for conn in connections:
            await conn.execute("LISTEN pgqueue")
        tasks = [asyncio.create_task(listen(conn)) for conn in connections]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
