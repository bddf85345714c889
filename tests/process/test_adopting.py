"""``pgq adopt`` moves jobs while producers and workers of the other system and of pgqueue run, and workers and adopt itself are killed.

At the end, each job has had its effect: in one system, and once. The exceptions are those of the other system: a job that its worker had when
it was killed stays ``doing`` (procrastinate) or ``picked`` (pgqueuer), so it may have had no effect yet, and pgqueuer runs it again later.

``PGQUEUE_ADOPT_LONG=120 pytest -n 0 -s tests/process/test_adopting.py`` goes on for 120 seconds for each system, with more kills.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests.apps import adopted_tasks
from tests.process.worker_processes import QUICK, ROOT
from tests.waiting import STARTS, wait_until

LONG = float(os.environ.get("PGQUEUE_ADOPT_LONG", "0"))
JOBS = int(max(LONG * adopted_tasks.AT_ONCE / adopted_tasks.APART / 2, 400))
# For each system: its table, the status of waiting and of running jobs, and the argument of a row.
TABLES = {
    "procrastinate": ("procrastinate_jobs", "todo", "doing", "(t.args ->> 'n')::int"),
    "pgqueuer": ("pgqueuer", "queued", "picked", "(convert_from(t.payload, 'UTF8')::json ->> 'n')::int"),
}
# A session of `pgq adopt` in the middle of a batch.
IN_BATCH = "select count(*) > 0 from pg_stat_activity where application_name = 'pgq' and datname = current_database() and xact_start is not null and pid <> pg_backend_pid()"


class Scene:
    """A database with both systems, and processes of both on it."""

    def __init__(self, system: str, dsn: str, folder: Path) -> None:
        self.system, self.dsn, self.folder = system, dsn, folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.kills: Counter[str] = Counter()
        self.db: Connection[Any] = psycopg.connect(dsn, autocommit=True)
        self.db.execute(
            "create table effects (n int not null, by text not null, at timestamptz default now())"
        )
        self.db.execute("create index on effects (n)")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, "PGQUEUE_DSN": self.dsn, "PYTHONPATH": str(ROOT)}
            made = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        self.processes.append(made)
        return made

    def theirs(self, *words: str) -> subprocess.Popen[bytes]:
        return self.start("tests.apps.adopted_tasks", self.system, *words)

    def works(self) -> subprocess.Popen[bytes]:
        # With the default limit, a job that is killed three times with its worker is dead, as it should be, and has no effect.
        patient = (*QUICK, "--crash-limit", "1000")
        return self.start("pgqueue", "work", "-A", adopted_tasks.PATH, "--queues", "*", *patient)

    def adopts(self, *words: str) -> subprocess.Popen[bytes]:
        return self.start("pgqueue", "adopt", self.system, "-A", adopted_tasks.PATH, *words)

    def kill(self, process: subprocess.Popen[bytes], what: str) -> None:
        process.kill()
        process.wait()
        self.kills[what] += 1

    def one(self, query: str) -> Any:
        row = self.db.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def effects(self, by: str) -> int:
        return int(self.one(f"select count(*) from effects where by = '{by}'"))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.db.close()


def install(system: str, dsn: str) -> None:
    if system == "procrastinate":
        schema = pytest.importorskip("procrastinate.schema")
        with psycopg.connect(dsn) as connection:
            connection.execute(schema.SchemaManager.get_schema().encode())
        return
    queries, asyncpg = pytest.importorskip("pgqueuer.queries"), pytest.importorskip("asyncpg")

    async def installed() -> None:
        connection = await asyncpg.connect(dsn)
        await queries.Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    asyncio.run(installed())


@pytest.mark.timeout(300 + 6 * LONG)
@pytest.mark.parametrize("system", ["procrastinate", "pgqueuer"])
def test_no_job_is_lost_or_runs_in_both_systems(system: str, dsn: str, tmp_path: Path) -> None:
    install(system, dsn)
    scene = Scene(system, dsn, tmp_path)
    try:
        played(scene)
    finally:
        scene.close()


def played(scene: Scene) -> None:
    table, waiting, running, argument = TABLES[scene.system]
    their_worker, our_worker = scene.theirs("work"), scene.works()
    producer = scene.theirs("produce", str(JOBS))
    adopting = scene.adopts("--follow")
    end = time.monotonic() + LONG
    gone_back = 0
    while True:
        before = {by: scene.effects(by) for by in (scene.system, "pgqueue")}
        wait_until(lambda: scene.one(IN_BATCH), STARTS)
        scene.kill(adopting, "adopt")
        scene.kill(their_worker, scene.system)
        their_worker = scene.theirs("work")
        adopting = scene.adopts("--follow")
        wait_until(
            lambda before=before: scene.effects("pgqueue") > before["pgqueue"] or producer.poll() is not None,
            STARTS,
        )
        scene.kill(our_worker, "pgqueue")
        our_worker = scene.works()
        if random.random() < 0.5 if LONG else scene.system == "procrastinate":
            assert scene.adopts("--undo").wait(STARTS) == 0
            gone_back += 1
        if time.monotonic() > end:
            break
    assert producer.wait(STARTS + LONG) == 0, (scene.folder / "log").read_text()
    # pgqueuer runs the jobs of a killed worker again. procrastinate leaves them, until an operator retries them.
    theirs = [waiting, running] if scene.system == "pgqueuer" else [waiting]
    left = f"select exists (select from {table} where status::text = any(array{theirs}))"
    wait_until(lambda: not scene.one(left), STARTS)
    scene.kill(their_worker, scene.system)
    adopting.terminate()
    assert adopting.wait(STARTS) == 0, "SIGTERM ends --follow"
    wait_until(lambda: not scene.one("select exists (select from pgqueue.jobs_live)"), STARTS + LONG)

    without = (
        f"from generate_series(0, {JOBS - 1}) n where not exists (select from effects e where e.n = n.n)"
    )
    stuck_too = f"exists (select from {table} t where t.status = '{running}' and {argument} = n.n)"
    missing = scene.one(f"select count(*) {without}")
    lost = scene.one(f"select count(*) {without} and not {stuck_too}")
    stuck = scene.one(f"select count(*) from {table} where status = '{running}'")
    in_both = scene.one(
        "select count(*) from (select n from effects group by n having count(distinct by) > 1) b"
    )
    twice_here = scene.one(
        "select count(*) from (select n from effects where by = 'pgqueue' group by n having count(*) > 1) b"
    )
    twice_there = scene.one(
        "select count(*) from (select n from effects where by <> 'pgqueue' group by n having count(*) > 1) b"
    )
    counts = {by: scene.effects(by) for by in (scene.system, "pgqueue")}
    print(f"{scene.system}: {JOBS} jobs, effects {counts}, kills {dict(scene.kills)}, {gone_back} undos, {missing} without effect, {lost} lost, "
          f"{stuck} {running} at the end, {in_both} in both, {twice_here} twice in pgqueue, {twice_there} twice in {scene.system}")  # fmt: skip
    known = scene.db.execute(
        f"select j.id, j.state, j.attempt, j.crash_count, j.last_error, j.meta, array(select t.reason from pgqueue.transitions t where t.job_id = j.id)"
        f" from pgqueue.jobs j where (j.args ->> 'n')::int in (select n.n {without})".encode()
    ).fetchall()
    print(
        f"dead: {scene.one('select count(*) from pgqueue.jobs_dead')}; what pgqueue knows of jobs without effect: {known}"
    )
    assert (lost, in_both, twice_here) == (0, 0, 0), known
    assert twice_there <= 5 * scene.kills[scene.system]
    assert counts["pgqueue"] > 0
    assert scene.one("select count(*) from pgqueue.jobs_dead") == 0
