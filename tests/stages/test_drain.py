"""A worker with ``drain`` ends soon after its last job, even if its poll interval is long. It also ends while a test has frozen the clock."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from psycopg import AsyncConnection
from tenacity import stop_after_attempt, stop_after_delay, wait_fixed

from pgqueue import App, RetryPolicy
from pgqueue.config import WorkerSettings
from pgqueue.worker.worker import STOPPED, Worker
from tests.frozen_clocks import frozen
from tests.waiting import wait_until

FUTURE = 4_000_000_000.0  # a time in the year 2096, in seconds since 1970


def drain(app: App, **settings: object) -> int:
    return Worker(app, WorkerSettings(queues={"default": None}, drain=True, **settings)).run()


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_a_worker_with_drain_does_not_wait_for_its_next_poll_after_the_last_job(app, db, executor) -> None:
    @app.task(name="t")
    async def t() -> None:
        await asyncio.sleep(0.2)

    t.enqueue_many([{}] * 3)
    begun = time.monotonic()
    assert drain(app, poll=60.0, executor=executor) == STOPPED
    assert time.monotonic() - begun < 40
    assert db.execute("select count(*) from pgqueue.jobs where state = 'completed'").fetchone() == (3,)


def test_a_worker_with_drain_ends_although_there_is_a_job_that_no_claim_takes(app, db) -> None:
    @app.task(name="t")
    async def t() -> None: ...

    t.enqueue()
    db.execute("insert into pgqueue.jobs (task, parked) values ('t', false)")
    assert drain(app, poll=0.1) == STOPPED
    ended = "select state, parked from pgqueue.jobs order by id"
    assert db.execute(ended).fetchall() == [("completed", None), ("pending", False)]


@pytest.mark.parametrize("queues", [{"default": None, "own": 1}, {"default": 1, "own": 1}])
def test_a_queue_with_slots_of_its_own_gets_turns_while_another_queue_could_fill_all_slots(
    app, queues
) -> None:
    ran = []

    @app.task(name="t")
    async def t(n: int) -> None:
        await asyncio.sleep(0.06)  # so long that no job is claimed ahead
        ran.append(n)

    t.enqueue_many([{"n": n} for n in range(10)])
    t.using(queue="own").enqueue(100)
    Worker(app, WorkerSettings(queues=queues, drain=True, concurrency=1)).run()
    assert ran.index(100) < 4


def test_a_worker_with_drain_finishes_all_jobs_while_the_clock_is_frozen(app, db) -> None:
    @app.task(name="t", retry=[0.05])
    async def t(n: int) -> None:
        await asyncio.sleep(0.01)

    @app.task(name="slow", retry=False, timeout=0.3)
    async def slow() -> None:
        await asyncio.Event().wait()

    with frozen():
        t.enqueue_many([{"n": n} for n in range(5)])
        slow.enqueue()
        assert drain(app) == STOPPED
    assert db.execute("select state, count(*) from pgqueue.jobs group by 1 order by 1").fetchall() == [
        ("completed", 5), ("dead", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("moment", [0.0, FUTURE])
def test_the_age_of_a_job_does_not_depend_on_the_clock_of_the_host(app, db, executor, moment) -> None:
    @app.task(
        name="t",
        retry=RetryPolicy(wait=wait_fixed(0), stop=stop_after_attempt(2) | stop_after_delay(1000)),
    )
    async def t() -> None:
        raise ValueError

    with frozen(moment):
        t.enqueue()
        assert drain(app, executor=executor) == STOPPED
    # If the age of a job depended on the clock of the host, a clock that is far ahead would make the job dead at its first attempt.
    assert db.execute("select state, attempt from pgqueue.jobs").fetchall() == [("dead", 2)]


@pytest.mark.timeout(60)
def test_a_worker_ends_while_its_pool_is_connecting(app, monkeypatch) -> None:
    """When the event loop ends, psycopg's pool can be connecting, for example after a crash of the server.

    Then the pool ignores the cancellation by the loop. The worker must end nevertheless.
    """
    connect, connecting, held = AsyncConnection.connect, asyncio.Event(), []

    async def connect_in_vain(*args: Any, **options: Any) -> AsyncConnection[Any]:
        if held and options.get("application_name") == "pgqueue app":
            connecting.set()
            await asyncio.Event().wait()
        return await connect(*args, **options)

    async def ask_for_another() -> None:
        async with app.aconnection():
            pass

    @app.task(name="t")
    async def t() -> None:
        async with app.aconnection():
            held.append(asyncio.create_task(ask_for_another()))
            await connecting.wait()

    t.enqueue()
    monkeypatch.setattr(AsyncConnection, "connect", connect_in_vain)
    assert drain(app) == STOPPED


def test_the_leader_keeps_the_rows_of_actions_as_long_as_its_setting_says(app, db) -> None:
    for days in (1.5, 3):
        db.execute(
            "insert into pgqueue.audit (at, actor, source, action, about) values (now() - %s * interval '1 day', 'ann', 'sql', 'pause', '{}')",
            [days],
        )

    def kept() -> int:
        return int(db.execute("select count(*) from pgqueue.audit").fetchone()[0])

    @app.task(name="wait")
    def wait() -> None:
        wait_until(lambda: kept() == 1)

    wait.enqueue()
    assert drain(app, audit_retention=2 * 86_400.0, executor="thread") == STOPPED
    assert kept() == 1
