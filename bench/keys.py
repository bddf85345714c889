"""What do unique keys cost an enqueuer? 1,000 jobs a call, and one a call, each with a key of its own, beside the same jobs without keys.

Every job finds its key free, as nearly all jobs of real users do. Each call is committed. The ways take turns within a round, on one
connection and in one database. Every way enqueues the same items. If a way passes made jobs to the API, the call includes making them:
``made`` jobs (``task.using(unique_key=…).job(…)``) are compared with jobs made without a key. ``key_share`` is the rate in per cent of
the rate without keys.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from bench import peers
from bench.peers import pgqueue as ours
from bench.probe import now
from bench.report import OURS, Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "jobs with a unique key each, enqueued by one process"
SHOWN = ["key_share", "jobs_per_s"]
HEADLINES = ["key_share"]
BATCH = 1_000
CALLS = 20

Enqueue = Callable[[Any, list[dict[str, Any]]], object]


def one_by_one(**options: Any) -> Enqueue:
    def enqueue(task: Any, items: list[dict[str, Any]]) -> None:
        for item in items:
            task.using(**options).enqueue(**item)

    return enqueue


def one_by_one_named(task: Any, items: list[dict[str, Any]]) -> None:
    for item in items:
        task.using(unique_key=f"n:{item['n']}").enqueue(**item)


# For each way: the way above it to compare it with, the number of jobs in a call, and the call.
WAYS: dict[str, tuple[str, int, Enqueue]] = {
    "many": ("many", BATCH, lambda task, items: task.enqueue_many(items)),
    "many, by argument": ("many", BATCH, lambda task, items: task.using(unique=["n"]).enqueue_many(items)),
    "many, unique_keys": (
        "many", BATCH, lambda task, items: task.enqueue_many(items, unique_keys=[f"n:{item['n']}" for item in items]),
    ),
    "made": ("made", BATCH, lambda task, items: task.enqueue_many([task.job(**item) for item in items])),
    "made, unique_key": (
        "made", BATCH,
        lambda task, items: task.enqueue_many([task.using(unique_key=f"n:{item['n']}").job(**item) for item in items]),
    ),
    "one": ("one", 50, one_by_one()),
    "one, by argument": ("one", 50, one_by_one(unique=["n"])),
    "one, unique_key": ("one", 50, one_by_one_named),
}  # fmt: skip
KEYED = [label for label, (plain, _, _) in WAYS.items() if plain != label]
TARGETS = [
    Target(f"{label}, % of the rate without", lambda r, label=label: r.median("keys", "key_share", f"{OURS} {label}"), 70)
    for label in KEYED
]  # fmt: skip


def run(server: str, systems: list[str], report: Report, rounds: int = 5, scale: float = 1.0) -> None:
    if OURS not in systems:
        return
    calls = max(3, int(CALLS * scale))
    for round_ in range(rounds):
        rates = measure(server, calls)
        for label in WAYS:
            values = {"jobs_per_s": rates[label], "key_share": 100 * rates[label] / rates[WAYS[label][0]]}
            report.add(Measurement("keys", f"{OURS} {label}", round_, values))
    report.table("keys", TITLE, SHOWN)


def measure(server: str, calls: int) -> dict[str, float]:
    rates = {}
    with fresh_database(server) as dsn:
        ours.migrate(dsn)
        settle(dsn)
        with psycopg.connect(dsn) as conn:
            task = ours.noop.using(conn)
            for label, (_, size, enqueue) in WAYS.items():
                conn.execute("TRUNCATE pgqueue.jobs_live")
                conn.execute("ANALYZE pgqueue.jobs_live")
                conn.commit()
                batches = [
                    [peers.job(n) for n in range(call * size, (call + 1) * size)] for call in range(calls + 2)
                ]
                for batch in batches[:2]:  # prepares the statements, plans the functions
                    enqueue(task, batch)
                    conn.commit()
                begin = now()
                for batch in batches[2:]:
                    enqueue(task, batch)
                    conn.commit()
                rates[label] = calls * size / (now() - begin)
    return rates
