"""Unique, throttle and debounce keys under load: four clients whose transactions overlap and are sometimes rolled back, and two workers."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg
from psycopg import Connection

from tests.apps import workload
from tests.process.worker_processes import WorkerProcesses, unfinished
from tests.waiting import wait_until

SECONDS = 5.0
THROTTLE = 0.7
SCHEMA = """
create table chk.asked (
    seq bigint generated always as identity, kind text not null, key text not null, job_id bigint not null,
    n bigint not null, created boolean not null);
create table chk.keyed (job_id bigint not null, n bigint not null)
"""
# Counts the jobs that got a unique key at a time when another job had the same key.
TOGETHER = """
with held as (
    select j.id, j.unique_key, min(e.seq) as since, max(e.seq) as until
    from pgqueue.jobs j join chk.events e on e.job_id = j.id where j.unique_key is not null group by 1, 2)
select count(*) from held a join held b on b.unique_key = a.unique_key and b.since > a.since and b.since < a.until
"""
# Counts the jobs that were stored too soon after the previous job with the same key: sooner than the period of the throttle.
TOO_SOON = """
select count(*) from (
    select j.created_at - lag(j.created_at) over (partition by j.args ->> 'key' order by j.created_at) as apart
    from pgqueue.jobs j where j.args ->> 'kind' = 'throttle') x
where x.apart < make_interval(secs => %s)
"""


class Enqueuer(threading.Thread):
    """Enqueues jobs with all kinds of keys until the time ``until``, and records each call in the transaction of the call."""

    def __init__(self, dsn: str, number: int, until: float) -> None:
        super().__init__()
        self.dsn, self.number, self.until = dsn, number, until
        self.dice = random.Random(number)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with psycopg.connect(self.dsn) as connection:
                n = self.number * 1_000_000
                while time.monotonic() < self.until:
                    n += 100
                    self.enqueue(connection, n)
                    if self.dice.random() < 0.1:
                        connection.rollback()
                    else:
                        connection.commit()
        except BaseException as error:  # noqa: BLE001 - the test raises it again
            self.error = error

    def enqueue(self, connection: Connection[Any], n: int) -> None:
        """Makes one call of enqueue_many, with one or three keys in any order."""
        kind = self.dice.choice(["unique", "replace", "throttle", "debounce", "expiring"])
        rules: dict[str, dict[str, Any]] = {
            "unique": {}, "replace": {"on_conflict": "replace"}, "throttle": {"throttle": THROTTLE},
            "debounce": {"debounce": 0.3, "debounce_max": 1.0},
            "expiring": {"delay": 0.2, "expires": 0.1},  # such a job expires before it can start, and then the leader or the next enqueue with its key cancels it
        }  # fmt: skip
        names = self.dice.sample("abcdef", self.dice.choice([1, 1, 3]))
        task = workload.keyed.using(connection, unique=["kind", "key"], **rules[kind])
        # Jobs of "unique" and of "replace" get the same keys, because a key is made of the arguments `kind` and `key`.
        shown = "unique" if kind == "replace" else kind
        items = [{"kind": shown, "key": name, "n": n + place} for place, name in enumerate(names)]
        for item, handle in zip(items, task.enqueue_many(items), strict=True):
            connection.execute(
                "insert into chk.asked (kind, key, job_id, n, created) values (%s, %s, %s, %s, %s)",
                [kind, item["key"], handle.id, item["n"], handle.created],
            )


def test_unique_keys_throttles_and_debounces_work_correctly_under_load(
    watched: str, workers: WorkerProcesses, db: Connection[Any]
) -> None:
    db.execute(SCHEMA)
    for _ in range(2):
        workers.start("--poll", "0.1", "--concurrency", "5")
    enqueuers = [Enqueuer(watched, number, time.monotonic() + SECONDS) for number in range(1, 5)]
    for enqueuer in enqueuers:
        enqueuer.start()
    for enqueuer in enqueuers:
        enqueuer.join(timeout=60)
        if enqueuer.error is not None:
            raise enqueuer.error
    wait_until(lambda: not unfinished(db), timeout=30)

    def one(query: str, *parameters: Any) -> Any:
        row = db.execute(query.encode(), parameters or None).fetchone()
        assert row
        return row[0]

    calls = dict(db.execute("select kind, count(*) from chk.asked group by 1").fetchall())
    jobs = dict(db.execute("select args ->> 'kind', count(*) from pgqueue.jobs group by 1").fetchall())
    print(f"calls {calls}; jobs {jobs}")
    assert set(calls) == {"unique", "replace", "throttle", "debounce", "expiring"}
    ends = "select count(*) from pgqueue.jobs where state <> case args ->> 'kind' when 'expiring' then 'cancelled' else 'completed' end"
    assert one(ends) == 0
    # Each job was created by one call, and each completed job has run once.
    assert one("select count(*) from chk.asked where created") == one("select count(*) from pgqueue.jobs")
    assert one("select count(*) from chk.keyed") == one(
        "select count(*) from pgqueue.jobs where state = 'completed'"
    )
    assert one(TOGETHER) == 0
    # The key of an expired job is free from its expiry on, even before the leader has ended the job.
    assert jobs["expiring"] > 6 * SECONDS
    # A throttle stores at most one job in each period.
    assert one(TOO_SOON, THROTTLE) == 0
    most = 6 * (int((SECONDS + 5) / THROTTLE) + 2)
    assert 6 <= jobs["throttle"] <= most
    assert calls["throttle"] > jobs["throttle"]
    # A debounced job ran with the arguments of the last call that returned this job.
    assert one(
        "select count(*) from (select distinct on (a.job_id) a.job_id, a.n from chk.asked a where a.kind = 'debounce'"
        " order by a.job_id, a.seq desc) last join chk.keyed k using (job_id) where k.n <> last.n"
    ) == 0  # fmt: skip
    assert calls["debounce"] > jobs["debounce"]
