"""How much write-ahead log, how much CPU time and how many commits does a job cost?

The first half of a measurement enqueues the jobs, 1,000 in each call. In the second half, one worker process works through them. Each half
has figures of its own. A checkpoint is made before each half, so that the log holds as many full-page images as possible. These images are
counted separately, because their number depends on how often the server makes checkpoints. pgqueue is measured twice: once it keeps
completed jobs, and once it deletes them.
"""

import asyncio
import os
from typing import Any

import psycopg

from bench import drain, peers, variants
from bench.cpu import Meter, backends
from bench.report import OURS, Report, Target, joined
from bench.server import fresh_database, settle
from bench.worker import Worker

TITLE = "cost of a job, if each call enqueues 1,000 jobs; the log without full-page images"
SHOWN = [
    "wal_bytes", "enqueue_wal_bytes", "work_wal_bytes", "images_wal_bytes", "enqueue_server_us", "work_server_us",
    "enqueue_client_us", "work_client_us", "work_commits_per_1000",
]  # fmt: skip
HEADLINES = ["wal_bytes", "server_us"]
TARGETS = [
    Target("log of a job that is kept, bytes", lambda r: r.median("cost", "wal_bytes"), 1_500, at_least=False),
    Target("log of a job that is deleted when it ends, bytes", lambda r: r.median("cost", "wal_bytes", "pgqueue deleted at once"), 1_100, at_least=False),
]  # fmt: skip

OWN_TABLES = "SELECT count(*) FROM pg_stat_user_tables"


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    asked: dict[str, peers.Peer] = {name: peers.load(name) for name in systems}
    if OURS in asked:
        asked[joined(OURS, variants.DELETED.label)] = variants.DELETED
    for round_ in range(rounds):
        for name, peer in asked.items():
            report.take("cost", name, round_, measure, server, peer, int(peer.DRAIN_JOBS * scale))
    report.table("cost", TITLE, SHOWN)


async def measure(server: str, peer: peers.Peer, jobs: int) -> dict[str, float]:
    """Returns the figures, or an empty dict if the system does not keep its jobs in this database."""
    with fresh_database(server) as dsn:
        await peer.setup(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn, peer.counter(dsn) as finished:
            if not number(conn, OWN_TABLES):
                return {}
            conn.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
            mine = backends(conn)
            bill = Bill(conn, dsn)
            async with peer.producer(dsn) as producer:
                meter = Meter(conn, os.getpid(), ignored=mine)
                for start in range(0, jobs, drain.CHUNK):
                    end = min(start + drain.CHUNK, jobs)
                    await producer.enqueue_many([peers.job(n) for n in range(start, end)])
                used = meter.per_job(jobs)
            await until_gone(conn, mine)
            enqueue = used | bill.per_job(jobs)
            bill = Bill(conn, dsn)
            with Worker(peer, dsn, 1) as worker:
                worker.next_start()
                meter = Meter(conn, *worker.leaders(), ignored=mine)
                drain.wait_until(finished, jobs)
                used = meter.per_job(jobs)
            await until_gone(conn, mine)
            work = used | bill.per_job(jobs)
    split = {f"{half}_{name}": value for half, values in {"enqueue": enqueue, "work": work}.items() for name, value in values.items()}  # fmt: skip
    return split | {
        name: enqueue[name] + work[name] for name in ("wal_bytes", "images_wal_bytes", "server_us")
    }


class Bill:
    """Makes a checkpoint. From then on, counts the write-ahead log of the server and the commits of this database."""

    def __init__(self, conn: psycopg.Connection[Any], dsn: str) -> None:
        settle(dsn)
        self.conn = conn
        self.lsn, self.commits = text(conn, "SELECT pg_current_wal_insert_lsn()::text"), commits(conn)

    def per_job(self, jobs: int) -> dict[str, float]:
        logged = f"pg_get_wal_stats('{self.lsn}', pg_current_wal_flush_lsn())"
        images = number(self.conn, f"SELECT sum(fpi_size)::float8 FROM {logged}")
        total = number(
            self.conn, f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{self.lsn}')::float8"
        )
        return {
            "wal_bytes": (total - images) / jobs,
            "images_wal_bytes": images / jobs,
            "commits_per_1000": 1_000 * (commits(self.conn) - self.commits) / jobs,
        }


def commits(conn: psycopg.Connection[Any]) -> float:
    return number(conn, "SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()")


async def until_gone(conn: psycopg.Connection[Any], mine: set[int]) -> None:
    """Waits until all other connections have ended, because a connection reports its last commits when it ends."""
    async with asyncio.timeout(10):
        while backends(conn) - mine:
            await asyncio.sleep(0.05)


def number(conn: psycopg.Connection[Any], query: str) -> float:
    return float(text(conn, query))


def text(conn: psycopg.Connection[Any], query: str) -> Any:
    (value,) = conn.execute(query).fetchone() or (None,)
    return value
