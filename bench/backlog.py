"""Does a deep backlog slow down the jobs in front of it?

Target: the rate with a backlog of 10 M jobs is at least 0.9 of the rate with a backlog of 10 k jobs. One worker process works through the
front jobs, which are the jobs in front of the backlog. A lane is all jobs of one queue and one priority. ``lower``: the backlog is in a
lane of lower priority than the front jobs. ``same``: the backlog is in the same lane as the front jobs, behind them. ``front``: as
``same``, and in addition a lane of lower priority has as many jobs as there are front jobs. Three databases have backlogs of 10 k, 1 M and
10 M jobs. They are measured one after the other.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg

from bench.load import against, drain, fill, migrate, number, tidy
from bench.report import Measurement, Report, Target
from bench.server import fresh_database

TITLE = (
    "one worker process works through the jobs in front of a backlog: shallow 10 k, deep 1 M, deepest 10 M"
)
JOBS = 60_000
DEPTHS = {"shallow": 10_000, "deep": 1_000_000, "deepest": 10_000_000}
PLACES = ("lower", "same", "front")
SHOWN = ["jobs_per_s", "kept_share", "cpu_ratio", "server_us", "client_us"]
HEADLINES = ["kept_share", "cpu_ratio"]
TARGETS = [
    Target(
        f"rate with the deepest backlog ({place}), % of that with the shallow one",
        lambda results, place=place: results.median("backlog", "kept_share", f"pgqueue {place}, deepest"),
        90,
    )
    for place in PLACES
]

WAITING = "SELECT count(*) FROM pgqueue.jobs_live WHERE priority = 0 AND state = 'pending'"


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if "pgqueue" not in systems:
        return
    jobs = max(10_000, int(JOBS * scale))
    depths = {name: max(10_000, int(depth * scale)) for name, depth in DEPTHS.items()} | {"shallow": 10_000}
    with contextlib.ExitStack() as stack:
        databases = {name: stack.enter_context(fresh_database(server)) for name in depths}
        for dsn in databases.values():
            migrate(dsn)
        for round_ in range(rounds):
            for place in PLACES:
                rows: dict[str, dict[str, float]] = {}
                for name, dsn in databases.items():
                    rows[name] = measure(dsn, depths[name], jobs, LAY[place])
                    values = against(rows[name], rows["shallow"])
                    report.add(Measurement("backlog", f"pgqueue {place}, {name}", round_, values))
    report.table(
        "backlog", f"{TITLE}; here {jobs:,} jobs of {', '.join(f'{d:,}' for d in depths.values())}", SHOWN
    )


def measure(
    dsn: str, depth: int, jobs: int, lay: Callable[[psycopg.Connection[Any], int], None]
) -> dict[str, float]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DELETE FROM pgqueue.jobs_live WHERE priority <> 0")
        missing = depth - int(number(conn, WAITING))
        if missing > 0:
            fill(conn, missing)
        lay(conn, jobs)
        tidy(conn)
    return drain(dsn, jobs)


def lower(conn: psycopg.Connection[Any], jobs: int) -> None:
    fill(conn, jobs, priority=-1)


def same(conn: psycopg.Connection[Any], jobs: int) -> None:
    fill(conn, jobs, age=7200)


def front(conn: psycopg.Connection[Any], jobs: int) -> None:
    fill(conn, jobs, age=7200)
    fill(conn, jobs, priority=1)


LAY = {"lower": lower, "same": same, "front": front}
