"""Is ``enqueue_many`` of 100,000 jobs nearly as fast as a bare COPY of the same rows?

After ``enqueue_many``, the bare COPY writes the same rows into a table with the same columns, checks and indexes. The text that COPY sends
is made before the clock starts. Both times include the commit.
"""

import psycopg

from bench import peers
from bench.peers import pgqueue as ours
from bench.probe import now
from bench.report import OURS, Report, Target
from bench.server import fresh_database, settle

TITLE = "100,000 jobs enqueued in one call, compared with a bare COPY of their rows"
SHOWN = ["copy_share", "jobs_per_s", "copy_per_s"]
HEADLINES = ["copy_share", "jobs_per_s"]
TARGETS = [Target("rate, % of the rate of a bare COPY", lambda r: r.median("bulk", "copy_share"), 60)]

JOBS = 100_000


def run(server: str, systems: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    if OURS not in systems:
        return
    for round_ in range(rounds):
        report.take("bulk", OURS, round_, measure, server, int(JOBS * scale))
    report.table("bulk", TITLE, SHOWN)


def measure(server: str, jobs: int) -> dict[str, float]:
    with fresh_database(server) as dsn:
        ours.migrate(dsn)
        with psycopg.connect(dsn) as conn:
            conn.execute("CREATE TABLE bare (LIKE pgqueue.jobs_live INCLUDING ALL) WITH (fillfactor = 50)")
            ours.noop.using(conn).enqueue_many([peers.job(n) for n in range(100)])
            conn.execute("TRUNCATE pgqueue.jobs_live")
            conn.commit()
            settle(dsn)
            items = [peers.job(n) for n in range(jobs)]
            begin = now()
            ours.noop.using(conn).enqueue_many(items)
            conn.commit()
            enqueued = now() - begin
            with conn.cursor().copy("COPY pgqueue.jobs_live TO STDOUT") as copy:
                rows = b"".join(copy)
            settle(dsn)
            begin = now()
            with conn.cursor().copy("COPY bare FROM STDIN") as copy:
                copy.write(rows)
            conn.commit()
            copied = now() - begin
            (stored,) = conn.execute("SELECT count(*) FROM bare").fetchone() or (0,)
    if stored != jobs:
        raise RuntimeError(f"{stored} of {jobs} rows were copied")
    return {"copy_share": 100 * copied / enqueued, "jobs_per_s": jobs / enqueued, "copy_per_s": jobs / copied}
