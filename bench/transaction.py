"""How much time does enqueuing one job add to a business transaction?

Two kinds of transactions alternate on one connection: one inserts a business row and commits, the other one also enqueues a job after
the INSERT. ``enqueue_ratio`` is the median time with the job divided by the median time without it. Both psycopg's sync and its async
connections are measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import psycopg

from bench import peers
from bench.peers import pgqueue as ours
from bench.probe import now
from bench.report import OURS, Report, Target
from bench.server import fresh_database, settle

TITLE = "a business transaction that enqueues a job, compared with one that enqueues none"
SHOWN = ["enqueue_ratio", "alone_ms", "beside_ms"]
TARGETS = [
    Target(f"{kind}, ratio of medians", lambda r, kind=kind: r.median("transaction", "enqueue_ratio", f"pgqueue {kind}"),
           1.25, at_least=False) for kind in ("sync", "async")
]  # fmt: skip

PAIRS = 2_000
WARM_UP = 50
TABLE = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int, note text)"
INSERT = "INSERT INTO orders (customer, note) VALUES (%s, %s)"


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if OURS not in systems:
        return
    pairs = max(200, int(PAIRS * scale))
    for round_ in range(rounds):
        report.take("transaction", f"{OURS} sync", round_, measure_sync, server, pairs)
        report.take("transaction", f"{OURS} async", round_, measure_async, server, pairs)
    report.table("transaction", TITLE, SHOWN)


@contextmanager
def shop(server: str) -> Iterator[str]:
    with fresh_database(server) as dsn:
        ours.migrate(dsn)
        with psycopg.connect(dsn) as conn:
            conn.execute(TABLE)
        settle(dsn)
        yield dsn


def measure_sync(server: str, pairs: int) -> dict[str, float]:
    times: dict[bool, list[float]] = {False: [], True: []}
    with shop(server) as dsn, psycopg.connect(dsn) as conn:
        for n in range(2 * (WARM_UP + pairs)):
            enqueued, begin = bool(n % 2), now()
            conn.execute(INSERT, [n, peers.NOTE])
            if enqueued:
                ours.noop.using(conn).enqueue(**peers.job(n))
            conn.commit()
            times[enqueued].append(now() - begin)
    return compared(times)


async def measure_async(server: str, pairs: int) -> dict[str, float]:
    times: dict[bool, list[float]] = {False: [], True: []}
    with shop(server) as dsn:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            for n in range(2 * (WARM_UP + pairs)):
                enqueued, begin = bool(n % 2), now()
                await conn.execute(INSERT, [n, peers.NOTE])
                if enqueued:
                    await ours.noop.using(conn).aenqueue(**peers.job(n))
                await conn.commit()
                times[enqueued].append(now() - begin)
    return compared(times)


def compared(times: dict[bool, list[float]]) -> dict[str, float]:
    alone, beside = (1000 * median(times[enqueued][WARM_UP:]) for enqueued in (False, True))
    return {"enqueue_ratio": beside / alone, "alone_ms": alone, "beside_ms": beside}
