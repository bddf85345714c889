"""How much do limits and the turns of keys slow jobs down, and how much does a limit slow down the jobs to which it does not apply?

One worker process works through the same no-op jobs in four ways: without keys and limits (``no rules``); with a limit for another queue;
with 1,000 keys and a limit of 20 running jobs for each key; and with 10,000 keys that take turns but have no limit. ``kept_share`` is the
rate in per cent of the rate without keys and limits.
"""

import psycopg

from bench.load import against, drain, migrate, tidy
from bench.report import OURS, Measurement, Report, Results, Target
from bench.server import fresh_database

TITLE = "one worker process works through jobs under limits and with keys"
JOBS = 60_000
SHOWN = ["jobs_per_s", "kept_share", "cpu_ratio", "server_us", "client_us"]
HEADLINES = ["kept_share", "cpu_ratio"]
LIMIT = "INSERT INTO pgqueue.limits (queue, per_key, concurrency) VALUES (%s, true, 20)"
FILL = """
INSERT INTO pgqueue.jobs (task, args, concurrency_key)
SELECT 'noop', jsonb_build_object('n', n, 'note', repeat('x', 180)), %s || (n %% %s) FROM generate_series(1, %s) n
"""
# Each way has three values: the queue for which a limit is set, the beginning of the concurrency keys, and the number of these keys.
WAYS: dict[str, tuple[str | None, str | None, int]] = {
    "no rules": (None, None, 1),
    "another queue limited": ("other", None, 1),
    "1,000 keys limited": ("default", "key", 1_000),
    "10,000 keys in turn": (None, "key", 10_000),
}


def kept(label: str) -> Target:
    bound = {"another queue limited": 97, "1,000 keys limited": 50, "10,000 keys in turn": 40}[label]
    return Target(f"{label}, % of the rate without rules", lambda r: share(r, label), bound)


def share(results: Results, label: str) -> float | None:
    return results.median("limits", "kept_share", f"{OURS} {label}")


TARGETS = [kept(label) for label in list(WAYS)[1:]]


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if OURS not in systems:
        return
    jobs = max(5_000, int(JOBS * scale))
    for round_ in range(rounds):
        rows: dict[str, dict[str, float]] = {}
        for label, (limited, key, keys) in WAYS.items():
            with fresh_database(server) as dsn:
                migrate(dsn)
                with psycopg.connect(dsn, autocommit=True) as conn:
                    if limited:
                        conn.execute(LIMIT, [limited])
                    conn.execute(FILL, [key, keys, jobs])
                    tidy(conn)
                rows[label] = drain(dsn, jobs)
            report.add(
                Measurement("limits", f"{OURS} {label}", round_, against(rows[label], rows["no rules"]))
            )
    report.table("limits", f"{TITLE}; {jobs:,} jobs", SHOWN)
