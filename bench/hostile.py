"""Does the speed depend on the planner's statistics?

Target: with wrong statistics, jobs take at most 1.5 times as long as with fresh statistics. One worker process works through the same
number of jobs in two tables that were filled in the same way. One table has wrong statistics, the other table was analyzed at the end.
``empty``: the table was analyzed while it was empty, and then filled with 1 M jobs. ``full``: the table was analyzed with 1 M jobs and then
emptied, so that the few jobs of the test lie behind 1 M dead rows. ``never``: the table was filled with 1 M jobs and never analyzed. Each
case is also measured while another session holds a snapshot that is older than all jobs. Autovacuum is off for both tables, because it
would make the statistics right.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from bench.load import against, drain, fill, held_snapshot, migrate
from bench.report import Measurement, Report, Target
from bench.server import fresh_database

TITLE = "one worker process works through jobs while the planner has wrong statistics, compared with fresh statistics"
JOBS = 30_000
LOAD = 1_000_000
CASES = ("empty", "full", "never")
SHOWN = ["slower_ratio", "cpu_ratio", "jobs_per_s", "fresh_per_s"]
HEADLINES = ["slower_ratio"]

# This query is run in both tables, because the first reader of a row must also mark the row as committed. Without this query, ANALYZE would
# mark the rows in one table, and the measured worker would mark them in the other table.
READ = "SELECT count(args) FROM pgqueue.jobs_live"
ALONE = "ALTER TABLE pgqueue.jobs_live SET (autovacuum_enabled = off)"


def worst(results: Any) -> float | None:
    medians = [results.median("hostile", "slower_ratio", system) for system in results.systems("hostile")]
    return max(medians) if medians else None


TARGETS = [
    Target(
        "time of the jobs with the worst statistics, divided by the time with fresh statistics",
        worst,
        1.5,
        at_least=False,
    )
]


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    jobs, load = max(10_000, int(JOBS * scale)), max(50_000, int(LOAD * scale))
    for round_ in range(rounds):
        for case in CASES:
            for held in (False, True):
                wrong, fresh = (
                    measure(server, LAY[case], jobs, load, held, repaired) for repaired in (False, True)
                )
                values = wrong | {
                    "slower_ratio": fresh["jobs_per_s"] / wrong["jobs_per_s"],
                    "cpu_ratio": against(wrong, fresh)["cpu_ratio"],
                    "fresh_per_s": fresh["jobs_per_s"],
                }
                system = f"pgqueue {case}{', held snapshot' * held}"
                report.add(Measurement("hostile", system, round_, values))
    report.table("hostile", f"{TITLE}: {jobs:,} of {load:,} jobs", SHOWN)


def measure(
    server: str,
    lay: Callable[[psycopg.Connection[Any], int, int], None],
    jobs: int,
    load: int,
    held: bool,
    repaired: bool,
) -> dict[str, float]:
    with fresh_database(server) as dsn:
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(ALONE)
            with held_snapshot(dsn, held):
                lay(conn, jobs, load)
                conn.execute(READ)
                if repaired:
                    conn.execute("ANALYZE pgqueue.jobs_live")
                conn.execute("CHECKPOINT")
                return drain(dsn, jobs)


def empty(conn: psycopg.Connection[Any], jobs: int, load: int) -> None:
    conn.execute("VACUUM (ANALYZE) pgqueue.jobs_live")
    fill(conn, jobs + load)


def full(conn: psycopg.Connection[Any], jobs: int, load: int) -> None:
    fill(conn, load, age=7200)
    conn.execute("VACUUM (ANALYZE) pgqueue.jobs_live")
    conn.execute("DELETE FROM pgqueue.jobs_live")
    fill(conn, jobs)


def never(conn: psycopg.Connection[Any], jobs: int, load: int) -> None:
    fill(conn, jobs + load)


LAY = {"empty": empty, "full": full, "never": never}
