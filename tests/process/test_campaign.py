"""The campaign runs 4,000 jobs on six workers that are killed, stopped and disconnected, on a server that crashes several times.

The test then asserts that no job was lost, that no transactional effect happened twice, and that every fault had an effect: a
worker was running jobs when it was killed, the jobs of a zombie (a worker that was stopped for long) were rescued, a connection
was terminated. The faults depend on a seed, which is printed. PGQUEUE_CAMPAIGN_SEED sets the seed, to repeat a run.

There are more faults. The server crashes immediately after a claim. A connection goes silent because its server process is
stopped. SIGTERM is sent to a supervisor and all its processes together. Some jobs kill the process in which they and other jobs run.

Three jobs of four have a key: a concurrency_key with limits and rates, a concurrency_key with an ordering, or a unique_key. The test
asserts that no limit was exceeded at any instant, that the order was kept, and that no seat was lost.

At the same time, random workflows run, whose nodes take steps in each executor, and some of whose nodes fail or end as cancelled. A client
cancels some workflows and retries some nodes. The test asserts that each node ends as a model says (campaign_flows.py).

Three short campaigns do the same: one with supervisors (``--processes 2``), which are killed too, one with every handler on a
thread, and one with every handler in a child process. On each day one of these three runs, because a campaign takes more of the CPU than any
other test. PGQUEUE_CAMPAIGN_LONG=1 runs all campaigns, and makes them long:
``PGQUEUE_CAMPAIGN_LONG=1 pytest -n 0 -s tests/process/test_campaign.py``.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.dev import embedded
from tests import checker
from tests.apps import workload
from tests.checker import Intents
from tests.pids import is_gone
from tests.process.campaign_clients import ROWS, TENANTS, Clients, Plan
from tests.process.campaign_faults import CRASH_LIMIT, SERVER, Faults, observer
from tests.process.campaign_flows import Flows, assert_all_ended_as_the_model_says
from tests.process.observed_runs import assert_order_was_kept, most_at_once
from tests.process.worker_processes import WorkerProcesses, unfinished
from tests.servers import create_database, directory_for_servers
from tests.waiting import wait_until

SEED = int(os.environ.get("PGQUEUE_CAMPAIGN_SEED", secrets.randbelow(1_000_000)))
LIMITS = """
insert into pgqueue.limits (queue, task, per_key, key, concurrency, rate, period, burst) values
    ('default', null, false, null, 24, null, null, null), (null, %s, false, null, 12, null, null, null),
    (null, null, true, null, 3, null, null, null), (null, null, true, 'tenant 1', 2, 100, '1 s', 20)
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stops and kills processes")

SHORT = Plan(part=0.2, kills=4, zombies=1, terminations=4, flows=8)
# By default, a supervisor kills a worker that shows no sign of life for long, so it would kill every zombie. `--blocked 0` prevents this.
PLANS = {
    "workers": Plan(),
    "supervisors": replace(
        SHORT, options=("--processes", "2", "--blocked", "0"), supervisors=3, processes=2, orphanings=2
    ),
    "threads": replace(SHORT, options=("--executor", "thread")),
    "children": replace(SHORT, options=("--executor", "process"), supervisors=3, slots=2),
}
if os.environ.get("PGQUEUE_CAMPAIGN_LONG"):
    PLANS = {name: plan.long() for name, plan in PLANS.items()}
else:
    # by the day, so that each process of a run, and a repetition of what failed, chooses the same
    today = ["supervisors", "threads", "children"][datetime.now(UTC).toordinal() % 3]
    PLANS = {name: PLANS[name] for name in ("workers", today)}


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", PLANS)
def test_a_campaign_of_faults_loses_no_job_and_breaks_no_limit(home: Path, tmp_path: Path, name: str) -> None:
    plan = PLANS[name]
    print(f"\ncampaign of {name}: seed {SEED}")
    begun = time.monotonic()
    dice = random.Random(SEED)
    mailbox = home / "mailbox"
    server = embedded.start(home / "server", settings=SERVER)
    faults = None
    try:
        dsn = create_database(server.dsn, "campaign")
        migrate.upgrade(dsn)
        checker.install(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute(LIMITS, [workload.move_thread.name])
        with (
            Intents(home / "intents.jsonl") as intents,
            WorkerProcesses(dsn, tmp_path, {workload.MAILBOX: str(mailbox)}, quiet=True) as workers,
        ):
            clients = Clients(dsn, plan, intents, random.Random(dice.random()))
            faults = Faults(home / "server", server, workers, clients, dice, observer(dsn), plan)
            for _ in range(plan.supervisors):
                faults.start()
            flows = Flows(dsn, plan.flows, random.Random(dice.random()))
            clients.thread.start()
            flows.thread.start()
            try:
                faults.run()
            finally:
                clients.finish()
                flows.finish()
            if clients.error is not None:
                raise clients.error
            try:
                # A slow machine needs long for all jobs, but it must finish at least one job in each minute.
                while left := unfinished(faults.db):
                    wait_until(lambda left=left: unfinished(faults.db) < left, timeout=60)  # type: ignore[misc]
            except AssertionError:
                show_unfinished(faults.db)
                raise
            wait_until(lambda: all(is_gone(pid) for pid in faults.orphans.values()))
            report(faults, time.monotonic() - begun)
            nodes = assert_all_ended_as_the_model_says(faults.db, flows)
            print(f"campaign: {len(flows.ids)} workflows with {nodes} nodes; {dict(flows.tally)}")
            judge(faults, mailbox)
    finally:
        if faults is not None:
            faults.db.close()
        (faults.server if faults else server).stop()
    print(f"campaign: {time.monotonic() - begun:.0f} s in all")


def show_unfinished(db: Connection[Any]) -> None:
    for query in (
        "select id, task, state, attempt, lease_id, worker_id, run_at, started_at, clock_timestamp() from pgqueue.jobs_live limit 20",
        "select id, pid, state, heartbeat_at from pgqueue.workers where id in (select worker_id from pgqueue.jobs_live)",
        "select pid, application_name, state, wait_event, xact_start from pg_stat_activity where xact_start is not null",
    ):
        for row in db.execute(query.encode()):
            print(*row)


def report(faults: Faults, seconds: float) -> None:
    states = dict(faults.db.execute("select state, count(*) from pgqueue.jobs group by 1").fetchall())
    reasons = dict(
        faults.db.execute("select reason, count(*) from pgqueue.transitions group by 1").fetchall()
    )
    print(
        f"campaign: {seconds:.0f} s; jobs {states}; clients {dict(faults.clients.tally)}; transitions {reasons};"
        f" kills {len(faults.effective('killed'))} of {len(faults.killed)}, zombies {len(faults.effective('woken'))},"
        f" terminated backends {faults.terminated}, orphans {len(faults.orphans)} of {faults.orphaned} supervisors,"
        f" restarts 1 (lines gone, back: {faults.gone_lines}), crashes after a claim {faults.crashed},"
        f" silent connections {dict(faults.silenced)}, groups stopped {faults.exit_codes}, bombs {len(faults.bombs)}"
    )


def judge(faults: Faults, mailbox: Path) -> None:
    clients, db, plan = faults.clients, faults.db, faults.plan
    transactional, external = clients.count("move"), clients.count("mail")
    # Every fault has happened, and had an effect.
    assert len(faults.effective("killed")) >= plan.kills
    assert len(faults.effective("woken")) >= plan.zombies
    assert faults.terminated >= plan.terminations
    assert (
        faults.one("select count(*) from pgqueue.workers where state = 'expired'")
        >= plan.kills + plan.zombies
    )
    assert faults.orphaned == plan.orphanings
    assert len(faults.orphans) >= plan.orphanings
    assert faults.crashed == plan.crashes
    assert faults.silenced.total() == plan.silences
    # After SIGTERM to all its processes, each supervisor exited with 0. Its workers drained, so none of their jobs had to be rescued.
    assert faults.exit_codes == [0] * plan.stops
    assert (
        faults.one(
            "select count(*) from pgqueue.transitions where reason = 'rescued' and worker_id = any(%s)",
            list(faults.drained),
        )
        == 0
    )
    # Each job that kills its process is dead at the end. (That no other job is dead is checked below.)
    assert db.execute(
        "select id, state, crash_count from pgqueue.jobs where task = 'bomb' order by id"
    ).fetchall() == [(job_id, "dead", CRASH_LIMIT) for job_id in faults.bombs]
    # No job was lost, no job of a transaction that was rolled back exists, and no transactional effect happened twice.
    assert clients.tally["acknowledged"] == transactional + external
    assert clients.tally["rolled back"] > 0
    assert db.execute(
        "select state, count(*) from pgqueue.jobs where task <> 'bomb' and workflow_id is null group by 1"
    ).fetchall() == [("completed", transactional + external)]
    clients.intents.load(clients.dsn)
    checker.check(clients.dsn)
    assert faults.one("select count(*) from chk.effects") == transactional
    # No limit was exceeded, and every order was kept. All seats are free again, and no recount of the seats had to correct them.
    assert most_at_once(db, lambda key, task: "all")["all"] <= 24
    assert most_at_once(db, lambda key, task: task)[workload.move_thread.name] <= 12
    by_key = most_at_once(db, lambda key, task: key)
    assert len(by_key) == ROWS + TENANTS
    assert by_key.pop("tenant 1") <= 2
    assert max(by_key.values()) == 3
    assert assert_order_was_kept(db) > plan.part * 900
    assert db.execute("select * from pgqueue.seats where taken > 0").fetchall() == []
    assert db.execute("select * from pgqueue.recount_seats()").fetchall() == []
    logged = "".join(worker.log.read_text(errors="replace") for worker in faults.workers.all)
    assert "the row is corrected" not in logged
    assert "is repaired" not in logged
    # External effects happened at least once. They happened again only for jobs that a fault interrupted.
    delivered = Counter(line.split()[0] for line in mailbox.read_text().splitlines())
    assert len(delivered) == external
    duplicates = delivered.total() - external
    hurt = len(faults.killed) + len(faults.woken) + len(faults.orphans) + plan.silences
    hurt += plan.workers * (1 + plan.crashes) + plan.bombs * CRASH_LIMIT
    most = hurt * plan.slots
    print(f"campaign: {duplicates} external effects happened again, at most {most} were expected")
    assert duplicates <= most
    # For one outage, each process logged one line when the outage began and one line when it ended.
    assert faults.gone_lines == [(plan.lines, plan.lines)] * plan.supervisors
    # At least half of the zombies logged that they had lost their lease. The other zombies were killed before they could do so.
    logs = "".join(worker.log.read_text(errors="replace") for worker in faults.workers.all)
    noticed = sum(f"worker {worker_id} lost its lease" in logs for worker_id in faults.woken)
    assert noticed >= plan.zombies // 2
