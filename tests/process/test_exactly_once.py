"""A campaign that proves by SQL: each effect of a job happens once, whatever happens to its process, its connections and the server.

Jobs with steps complete themselves in transactions, on ten kinds of connection, in workers whose handlers run on a loop, on threads and in
child processes. Some jobs have seats, and some are nodes of workflows, because the statement that completes them differs. Meanwhile:

- workers and child processes are killed;
- workers are stopped until their lease is over, and then go on as zombies;
- server processes are terminated inside transactions;
- the server crashes;
- a proxy loses COMMITs, and answers to COMMITs that the server has made (``commit_proxy.py``).

The test fails if a kind of fault had no effect. The faults depend on a seed, which is printed, and which PGQUEUE_CAMPAIGN_SEED sets. The
campaign is short, unless PGQUEUE_CAMPAIGN_LONG is set: ``PGQUEUE_CAMPAIGN_LONG=1 pytest -n 0 -s tests/process/test_exactly_once.py``. A long
campaign has 2,000 jobs for each kind of connection in each kind of worker, or as many as PGQUEUE_CAMPAIGN_JOBS says.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.dev import embedded
from tests import checker
from tests.apps import exact_tasks
from tests.commit_proxy import LATE, NOT_DELIVERED, SWALLOWED, CommitProxy, Lost, commit_proxy_to
from tests.process.exactly_once_faults import COMBINATIONS, EXECUTORS, SERVER, Campaign, Plan, observer
from tests.process.worker_processes import WorkerProcesses
from tests.servers import create_database, directory_for_servers

SEED = int(os.environ.get("PGQUEUE_CAMPAIGN_SEED", secrets.randbelow(1_000_000)))
SHORT = Plan(
    jobs=3, workers=1, slots=4, answers=10, kills=1, child_kills=1, zombies=1, terminations=2, restarts=1, fenced=0, odds=0.2
)  # fmt: skip
JOBS = int(os.environ.get("PGQUEUE_CAMPAIGN_JOBS", "2000"))
LONG = Plan(
    jobs=JOBS, workers=2, slots=8, answers=100, kills=20, child_kills=20, zombies=5, terminations=60, restarts=5, fenced=1,
    odds=min(0.2, 500 / (JOBS * len(COMBINATIONS))),
)  # fmt: skip
PLAN = LONG if os.environ.get("PGQUEUE_CAMPAIGN_LONG") else SHORT
BATCHES = {
    "pgqueue steps": b"insert into pgqueue.checkpoints",
    "pgqueue settle": b"jobs_live",
}
# Each of these queries returns the rows that contradict the promise in its name.
CONTRADICTIONS = {
    "a job is not completed": "select op, state from jobs where state <> 'completed'",
    "a job did not book exactly once": """
        select op from jobs left join booked using (op) group by op having count(booked.op) <> 1""",
    "a job did not store each of its pages exactly once": """
        select op, array_agg(page order by page) from jobs left join paged using (op) group by op having array_agg(page order by page) <> '{1,2}'""",
    "a job did not have its effect exactly once": """
        select op from jobs left join chk.effects e using (op) group by op having count(e.op) <> 1""",
    "the jobs that were enqueued together with a completion are not there exactly once": """
        select j.op from jobs j left join pgqueue.jobs t on t.task = 'told' and (t.args ->> 'by')::bigint = j.op
        group by j.op having count(t.id) <> 1""",
    "a node behind a job did not run exactly once": """
        select j.op from jobs j left join pgqueue.jobs t on t.task = 'told' and (t.args ->> 'by')::bigint = -j.op and t.state = 'completed'
        where j.workflow_id is not null group by j.op having count(t.id) <> 1""",
    "a row of a step has another transaction or lease than its checkpoint": """
        select b.op from booked b full join pgqueue.checkpoints c on c.job_id = b.job_id and c.name = 'book'
        where (c.kind = 'effect' and c.lease_id = b.lease_id and c.xmin::text = (b.xact::text::numeric %% 4294967296)::text) is not true
          and (c.job_id is not null and c.name = 'book' or b.op is not null)""",
    "the place of a job is not that of its last page": """
        select p.op from (select distinct on (op) * from paged order by op, page desc) p
        left join pgqueue.checkpoints c on c.job_id = p.job_id and c.kind = 'cursor'
        where (c.value = to_jsonb(p.page) and c.lease_id = p.lease_id
               and c.xmin::text = (p.xact::text::numeric %% 4294967296)::text) is not true""",
    "the result of a job differs from the values of its steps": """
        select j.op, j.result, c.stored from jobs j
        cross join lateral (
            select jsonb_agg(c.value order by c.name desc, c.key) as stored from pgqueue.checkpoints c
            where c.job_id = j.id and c.kind in ('step', 'effect')) c
        where j.result is distinct from c.stored""",
    "an attempt that has committed its completion has failed": """
        select e.op, t.reason from chk.effects e join pgqueue.transitions t using (job_id, lease_id)""",
}
JOBS = """
create temp view jobs as select j.*, (j.args ->> 'op')::bigint as op from pgqueue.jobs j where j.task in ('exact', 'aexact');
set search_path = pg_temp, public, pg_catalog
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with directory_for_servers() as directory:
        yield directory


@pytest.mark.timeout(7200)
def test_each_effect_happens_once_under_faults_on_every_kind_of_connection(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"\nexactly-once campaign: seed {SEED}")
    begun, dice, notes = time.monotonic(), random.Random(SEED), home / "notes"
    monkeypatch.setattr(exact_tasks.app, "_dsn", "")
    server = embedded.start(home / "server", settings=SERVER)
    campaign = None
    try:
        dsn = create_database(server.dsn, "campaign")
        migrate.upgrade(dsn)
        checker.install(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute(exact_tasks.SCHEMA.encode())
            connection.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 4)")
        odds = dict.fromkeys(("booked", "paged", "effects"), PLAN.odds) | dict.fromkeys(
            BATCHES, PLAN.odds / 3
        )
        with (
            commit_proxy_to(dsn, random.Random(dice.random()), odds, BATCHES) as proxy,
            WorkerProcesses(
                proxy.dsn, tmp_path, {exact_tasks.NOTES: str(notes)}, quiet=True, app=exact_tasks.PATH
            ) as workers,
        ):
            campaign = Campaign(home / "server", server, dsn, workers, dice, PLAN, observer(dsn), notes)
            for executor in list(EXECUTORS) * PLAN.workers:
                campaign.start(executor)
            campaign.enqueue(PLAN.jobs)
            try:
                campaign.run(lambda: len(made(proxy)) >= PLAN.answers and not without_effect(proxy))
            except AssertionError:
                show_unfinished(campaign.db)
                raise
            print(f"campaign: {time.monotonic() - begun:.0f} s")
            judge(campaign, proxy, notes)
    finally:
        if campaign is not None:
            campaign.db.close()
        (campaign.server if campaign else server).stop()
    print(f"campaign: {time.monotonic() - begun:.0f} s in all")


def made(proxy: CommitProxy) -> list[Lost]:
    """Returns the completions whose COMMIT the server has made, as the proxy says, while the handler got no answer."""
    return [one for one in proxy.lost if one.what == "effects" and one.committed]


def without_effect(proxy: CommitProxy) -> list[tuple[str, str]]:
    """Returns the kinds of loss that have not happened yet: what was lost, and how."""
    kinds = [
        (what, fault) for what in ("effects", "booked", "paged") for fault in (SWALLOWED, LATE, NOT_DELIVERED)
    ]
    kinds += [(what, SWALLOWED) for what in BATCHES]
    return sorted(set(kinds) - {(one.what, one.fault) for one in proxy.lost})


def show_unfinished(db: Connection[Any]) -> None:
    for query in (
        "select id, task, args, queue, state, attempt, lease_id, worker_id, crash_count, run_at, started_at from pgqueue.jobs_live limit 20",
        "select id, pid, state, heartbeat_at, queues from pgqueue.workers where expires_at > clock_timestamp()",
        "select * from pgqueue.seats where taken > 0",
        "select pid, application_name, state, wait_event, xact_start, left(query, 100) from pg_stat_activity where xact_start is not null",
    ):
        for row in db.execute(query.encode()):
            print(*row)


def judge(campaign: Campaign, proxy: CommitProxy, notes: Path) -> None:
    db = campaign.db
    db.execute(JOBS)
    said: dict[str, list[Any]] = defaultdict(list)
    for line in notes.read_text().splitlines():
        what, *values = json.loads(line)
        said[what].append(values)
    effects = {
        xact: (op, lease)
        for xact, op, lease in db.execute("select xact::text::bigint, op, lease_id from chk.effects")
    }
    report(campaign, proxy, said, effects)
    for promise, query in CONTRADICTIONS.items():
        found = db.execute(query.encode(), []).fetchmany(5)
        assert found == [], promise
    # The database agrees with the proxy about each lost COMMIT. A crash can give the id of a transaction that was not committed to another one.
    for one in proxy.lost:
        if one.xact is not None and (one.committed or one.at > campaign.crashed_at):
            [(status,)] = db.execute("select pg_xact_status(%s::text::xid8)", [one.xact]).fetchall()
            assert status == ("committed" if one.committed else "aborted"), one
            assert one.what != "effects" or (one.xact in effects) is one.committed, one
    # No handler was told that its completion failed, although it was committed.
    committed = set(effects.values())
    refused = [note for note in said["refused"] if tuple(note[:2]) in committed]
    assert refused == []
    # Each attempt got the same values from its steps, and a value that was stored is that of a call that was made.
    values: dict[int, set[str]] = defaultdict(set)
    for op, _, got in said["got"]:
        values[op].add(json.dumps(got))
    assert [op for op, found in values.items() if len(found) > 1] == []
    calls = Counter((op, n) for op, n, _ in said["mark"])
    assert len(calls) == campaign.ops * exact_tasks.MARKS
    assert_all_bit(campaign, proxy, said, effects)
    checker.check(campaign.dsn)


def report(
    campaign: Campaign, proxy: CommitProxy, said: dict[str, list[Any]], effects: dict[int, tuple[int, int]]
) -> None:
    by_combination = Counter(
        COMBINATIONS[effects[one.xact][0] % len(COMBINATIONS)] for one in made(proxy) if one.xact in effects
    )
    again = len(said["mark"]) - campaign.ops * exact_tasks.MARKS
    transitions = dict(
        campaign.db.execute("select reason, count(*) from pgqueue.transitions group by 1").fetchall()
    )
    print(
        f"campaign: {campaign.ops} jobs in {len(COMBINATIONS)} combinations; faults {dict(campaign.counts)};"
        f" lost commits {proxy.counted()}; completions that were made without an answer {len(made(proxy))}, at least"
        f" {min(by_combination[one] for one in COMBINATIONS)} in each combination; calls of plain steps again {again};"
        f" handlers that ended in an error {dict(Counter(error for _, _, error, _ in said['refused']))};"
        f" transitions {transitions}"
    )


def assert_all_bit(
    campaign: Campaign, proxy: CommitProxy, said: dict[str, list[Any]], effects: dict[int, tuple[int, int]]
) -> None:
    """Fails if a kind of fault had no effect."""
    plan, counts = campaign.plan, campaign.counts
    assert counts["kill"] >= plan.kills
    assert counts["kill_child"] >= plan.child_kills
    assert counts["zombies"] >= plan.zombies
    assert counts["terminate"] >= plan.terminations
    assert counts["restart"] >= plan.restarts
    assert len(made(proxy)) >= plan.answers
    assert without_effect(proxy) == []
    done = {(op, lease) for op, lease in said["done"]}
    assert (
        sum(effects[one.xact] in done for one in made(proxy) if one.xact is not None) > len(made(proxy)) / 2
    )
    assert campaign.counted("fenced") >= plan.fenced
