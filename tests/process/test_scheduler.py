"""Real schedulers run at the same time, are killed and replace each other. Each fire time must enqueue exactly one job, without much delay."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from tests import command_line
from tests.process.worker_processes import QUICK, ROOT, WorkerProcess, WorkerProcesses
from tests.waiting import wait_until

# For each schedule, this query returns its name, the number of its runs, of the distinct jobs of these runs, of the runs that have a job,
# and of the fire times between the first and the last run. Then follow the numbers of the schedule's jobs and of their distinct fire times.
EACH_ONCE = """
select s.name, count(*), count(distinct r.job_id), count(r.job_id),
       extract(epoch from max(r.fire_at) - min(r.fire_at))::int / extract(epoch from s.every)::int + 1,
       (select count(*) from pgqueue.jobs j where j.meta ->> 'schedule' = s.name),
       (select count(distinct j.meta ->> 'fire_at') from pgqueue.jobs j where j.meta ->> 'schedule' = s.name)
from pgqueue.schedules s join pgqueue.schedule_runs r on r.schedule_id = s.id
group by s.id
"""


def add(db: Connection[Any], name: str, **columns: Any) -> None:
    columns = {"name": name, "task": "tick", "overlap": "allow", **columns}
    db.execute(
        f"insert into pgqueue.schedules ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))})".encode(),
        list(columns.values()),
    )


def fired(db: Connection[Any], count: int, name: str = "%") -> bool:
    """Returns whether each schedule whose name matches ``name`` has fired at least ``count`` times."""
    row = db.execute(
        "select bool_and((select count(*) from pgqueue.schedule_runs r where r.schedule_id = s.id) >= %s)"
        " from pgqueue.schedules s where s.name like %s",
        [count, name],
    ).fetchone()
    return bool(row and row[0])


def check_each_once(db: Connection[Any]) -> None:
    """Asserts that no fire time is missing between the first and the last one, and that each fire time has exactly one job."""
    for name, noted, distinct, with_job, expected, jobs, fire_times in db.execute(EACH_ONCE).fetchall():
        assert (name, noted) == (name, expected)
        assert {distinct, with_job, jobs, fire_times} == {noted}, name


@contextmanager
def schedulers(dsn: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts schedulers and yields their list, which the caller can change. At the end, kills the processes that are in the list."""
    found = [start_scheduler(dsn) for _ in range(count)]
    try:
        yield found
    finally:
        for process in found:
            process.kill()
            process.wait()


def start_scheduler(dsn: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.process.scheduler_alone", dsn]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_two_schedulers_fire_each_time_exactly_once_when_they_are_killed_repeatedly(
    dsn: str, db: Connection[Any]
) -> None:
    for n in range(6):
        add(db, f"s{n}", every="1 second")
    chance = random.Random()
    seed = chance.randrange(10_000)
    print("seed", seed)
    chance.seed(seed)
    with schedulers(dsn, 2) as running:
        for kills in range(4):
            wait_until(lambda kills=kills: fired(db, 1 + kills))  # type: ignore[misc]
            moment = time.monotonic() + chance.uniform(0, 1)
            wait_until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            running[kills % 2].kill()  # at a random moment, so sometimes in the middle of a transaction
            running[kills % 2].wait()
            running[kills % 2] = start_scheduler(dsn)
        wait_until(lambda: fired(db, 7))
    check_each_once(db)


def test_500_schedules_that_are_due_together_fire_in_few_transactions(dsn: str, db: Connection[Any]) -> None:
    with schedulers(dsn, 1):
        db.execute(
            "insert into pgqueue.schedules (name, task, at)"
            " select 's' || n, 'tick', date_trunc('second', now()) + interval '4 seconds' from generate_series(1, 500) n"
        )
        wait_until(lambda: fired(db, 1))
    row = db.execute(
        "select max(enqueued_at - fire_at)::text, count(distinct job_id), count(distinct xmin::text)"
        " from pgqueue.schedule_runs"
    ).fetchone()
    assert row
    print("500 due together: the last one was enqueued after", row[0])
    assert row[1] == 500
    assert row[2] <= 6


def leader(db: Connection[Any], workers: list[WorkerProcess]) -> WorkerProcess | None:
    row = db.execute(
        "select w.pid from pgqueue.leader l join pgqueue.workers w on w.id = l.worker_id"
        " where l.expires_at > clock_timestamp()"
    ).fetchone()
    return next((worker for worker in workers if row and worker.pid == row[0]), None)


def test_two_workers_fire_each_time_exactly_once_when_the_leader_is_killed(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    add(db, "allow", every="1 second")
    add(db, "queue", every="2 seconds", overlap="queue")
    add(db, "other", every="1 second", task="unknown")
    alive = [workers.start_registered(*QUICK)[0] for _ in range(2)]
    for kills in range(2):
        wait_until(lambda kills=kills: fired(db, 2 + 2 * kills, "allow"))  # type: ignore[misc]
        dying = wait_until(lambda: leader(db, alive))
        dying.signal(signal.SIGKILL)
        dying.wait()
        alive.remove(dying)
        alive.append(workers.start_registered(*QUICK)[0])
    wait_until(lambda: fired(db, 8, "allow"))
    db.execute("update pgqueue.schedules set paused = true")
    waiting = "select count(*) from pgqueue.jobs_live where task = 'tick'"
    wait_until(lambda: db.execute(waiting).fetchone() == (0,))
    rows = [row for row in db.execute(EACH_ONCE).fetchall() if row[0] != "queue"]
    for name, noted, distinct, with_job, expected, jobs, fire_times in rows:
        assert {distinct, with_job, expected, jobs, fire_times} == {noted}, name


@pytest.mark.parametrize("mode", ["listen", "supervised"])
def test_another_worker_leads_within_a_second_when_the_leader_stops(
    workers: WorkerProcesses, db: Connection[Any], mode: str
) -> None:
    """A leader resigns when it stops. Otherwise, no other worker could lead until the former leader's term is over: 15 s by default."""
    dying, _ = workers.start_registered()
    wait_until(lambda: leader(db, [dying]))
    if mode == "supervised":
        workers.start("--processes", "2")
    else:
        for _ in range(2):
            workers.start_registered()
    others = "select count(*) from pgqueue.workers where state = 'running' and pid <> %s"
    wait_until(lambda: db.execute(others, [dying.pid]).fetchone() == (2,))
    proven = "select count(*) from pg_stat_activity where application_name = 'pgqueue listen' and query ~ 'pg_notify'"
    listening = f"{proven} and datname = current_database()".encode()
    wait_until(lambda: db.execute(listening).fetchone() == (2 if mode == "supervised" else 3,))
    add(db, "allow", every="1 second")
    wait_until(lambda: fired(db, 2))
    dying.signal(signal.SIGTERM)
    assert dying.wait() == 0
    left = time.monotonic()
    leads = (
        "select count(*) from pgqueue.leader l join pgqueue.workers w on w.id = l.worker_id where w.pid <> %s"
    )
    wait_until(lambda: db.execute(leads, [dying.pid]).fetchone() == (1,))
    assert time.monotonic() - left < 1.0
    gone = db.execute("select count(*) from pgqueue.schedule_runs").fetchone()
    assert gone
    wait_until(lambda: fired(db, gone[0] + 2))
    late = db.execute(
        "select max(enqueued_at - fire_at) < interval '2 s' from pgqueue.schedule_runs"
    ).fetchone()
    assert late == (True,)


def test_a_schedule_fires_within_a_second_of_its_fire_time(
    workers: WorkerProcesses, db: Connection[Any]
) -> None:
    workers.start_registered(*QUICK)
    workers.start_registered(*QUICK)
    add(db, "s", every="1 second", overlap="queue")
    begun = time.monotonic()
    wait_until(lambda: fired(db, 1))
    assert time.monotonic() - begun < 4, "planned within two seconds, and fired within another second"
    wait_until(lambda: fired(db, 5))
    add(db, "bad", cron="61 * * * *")
    begun = time.monotonic()
    wait_until(lambda: db.execute("select 1 from pgqueue.schedules where problem like '%minute%'").fetchone())
    assert time.monotonic() - begun < 4
    db.execute("update pgqueue.schedules set options = '{\"tags\": [\"new\"]}' where name = 's'")
    begun = time.monotonic()
    wait_until(lambda: db.execute("select 1 from pgqueue.jobs where tags = '{new}'").fetchone())
    assert time.monotonic() - begun < 4
    row = db.execute(
        "select max(extract(epoch from r.enqueued_at - r.fire_at)), min(r.enqueued_at - r.fire_at) >= interval '0'"
        " from pgqueue.schedule_runs r where r.state = 'enqueued' and not exists ("
        "  select from pgqueue.schedule_runs f join pgqueue.jobs j on j.id = f.job_id"
        "  where f.schedule_id = r.schedule_id and f.fire_at < r.fire_at and coalesce(j.finished_at, 'infinity') > r.fire_at)"
        # the first fire time does not count: the scheduler needs up to two seconds to notice a new row
        " and exists (select from pgqueue.schedule_runs f where f.schedule_id = r.schedule_id and f.fire_at < r.fire_at)"
    ).fetchone()
    assert row
    print("latest enqueue after its fire time", row[0])
    assert row[0] < 1
    assert row[1]
    db.execute("delete from pgqueue.schedules")


SHOP = """
from pgqueue import App
app = App()

@app.cron("0 9 * * *", tz="Europe/Warsaw", name="{name}", args={{"n": {n}}})
@app.task(name="report")
def report(n: int) -> None: ...
"""


def test_a_worker_stores_the_schedules_that_its_code_declares(
    dsn: str, db: Connection[Any], tmp_path: Path
) -> None:
    def deploy(name: str, n: int) -> list[tuple[Any, ...]]:
        (tmp_path / "shop.py").write_text(SHOP.format(name=name, n=n))
        shutil.rmtree(
            tmp_path / "__pycache__", ignore_errors=True
        )  # of a file as long, written in the same second
        done = command_line.pgq("work", "-A", "shop:app", "--drain", cwd=tmp_path, dsn=dsn)
        assert done.returncode == 0, done.stderr
        return db.execute("select name, args, paused, source from pgqueue.schedules").fetchall()

    assert deploy("report", 1) == [("report", {"n": 1}, False, "code")]
    db.execute("update pgqueue.schedules set paused = true")
    assert deploy("report", 2) == [("report", {"n": 2}, True, "code")]
    assert deploy("daily", 2) == [("daily", {"n": 2}, False, "code")]


def test_a_scheduler_goes_on_after_its_connection_broke(dsn: str, db: Connection[Any]) -> None:
    add(db, "s", every="1 second")
    with schedulers(dsn, 1):
        for count in (1, 3):
            wait_until(lambda count=count: fired(db, count))  # type: ignore[misc]
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'pgqueue schedules' and datname = current_database()"
            )
        wait_until(lambda: fired(db, 5))
    check_each_once(db)


def test_a_locked_row_of_a_schedule_delays_only_this_schedule(dsn: str, db: Connection[Any]) -> None:
    add(db, "held", every="1 second")
    add(db, "free", every="1 second")
    with psycopg.connect(dsn) as holder, schedulers(dsn, 1):
        wait_until(lambda: fired(db, 1))
        holder.execute("select 1 from pgqueue.schedules where name = 'held' for update")
        seen = db.execute("select count(*) from pgqueue.schedule_runs").fetchone()
        assert seen
        wait_until(lambda: fired(db, seen[0] + 3, "free"))
        holder.rollback()
        wait_until(lambda: fired(db, seen[0] + 3, "held"))
    check_each_once(db)
