"""What do unique keys cost an enqueuer? Jobs that each have a key of their own are compared with the same jobs without keys.

No two jobs have the same key, which is the normal case for users. ``many`` and ``made`` store 1,000 jobs in each call and commit them.
``one`` stores one job in each call and commits after 50 calls. All ways to enqueue are measured in each round, on one connection and in one
database, with the same arguments. ``made``: the jobs are made first (``task.using(unique_key=…).job(…)``), and then passed to
``enqueue_many``. The measured time includes making them, both for jobs with keys and for jobs without keys. ``key_share`` is the rate in
per cent of the rate without keys.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from bench import peers
from bench.peers import pgqueue as ours
from bench.probe import now
from bench.report import OURS, Measurement, Report, Target
from bench.server import fresh_database, settle

TITLE = "jobs that each have a unique key, enqueued by one process"
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


# Each way to enqueue has three values: the name of its baseline (a way without keys), the number of jobs in a batch, and the call.
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
    Target(f"{label}, % of the rate without keys", lambda r, label=label: r.median("keys", "key_share", f"{OURS} {label}"), 70)
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
                for batch in batches[:2]:  # the server prepares statements and plans functions
                    enqueue(task, batch)
                    conn.commit()
                begin = now()
                for batch in batches[2:]:
                    enqueue(task, batch)
                    conn.commit()
                rates[label] = calls * size / (now() - begin)
    return rates
