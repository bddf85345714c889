"""A user's trigger can raise any error for one job. The other jobs are claimed, settled, rescued and ended nevertheless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.database.link import Link
from pgqueue.errors import SchemaMissingError
from pgqueue.maintenance.overdue import finish_overdue_once
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.model.outcome import COMPLETED
from pgqueue.model.tally import Tally
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.settler import Settler
from pgqueue.worker.worker import Worker
from tests.failing_rows import PASSING, count_states, expire_lease, refuse, with_link
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

# Error codes that the trigger raises. If Postgres itself raises them, they mean a missing right, a lost server or a missing column.
# RAISE uses the last code if the trigger gives no code.
CODES = ["42501", "57P01", "57P03", "42703", "08006", "P0001"]


def states(db: Connection[Any], odd: bool) -> set[str]:
    return {
        state for (state,) in db.execute("select state from pgqueue.jobs where (tags <> '{}') = %s", [odd])
    }


@pytest.mark.parametrize("code", CODES + PASSING)
def test_the_other_jobs_are_claimed_whatever_a_trigger_raises_for_one_job(
    db: Connection[Any], ok: App, code: str
) -> None:
    for tags, key in (("{}", None), ("{odd}", None), ("{}", "a"), ("{odd}", "b"), ("{}", "c")):
        db.execute(
            "insert into pgqueue.jobs (task, tags, concurrency_key) values ('ok', %s, %s)", [tags, key]
        )
    db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 9)")
    db.execute("insert into pgqueue.jobs (task, priority, tags) values ('ok', 5, '{odd}')")
    refuse(db, code, "update")
    claimer = Worker(ok, WorkerSettings(queues={"default": None}))._claimer
    claimer.worker_id = Hand(db, ["ok"]).id

    async def play() -> None:
        try:
            while len(claimer._lanes.all()) < 2 or not claimer._turns:
                await claimer._survey()
            await claimer._claim(100)
        finally:
            await claimer._link.close()

    asyncio.run(play())
    assert states(db, odd=False) == {"running"}
    assert states(db, odd=True) == {"pending" if code in PASSING else "dead"}


@pytest.mark.parametrize("code", CODES + PASSING)
def test_the_other_jobs_are_settled_whatever_a_trigger_raises_for_one_job(
    db: Connection[Any], dsn: str, code: str
) -> None:
    hand = Hand(db, ["ok"])
    db.execute(
        "insert into pgqueue.jobs (task, tags) select 'ok', case n when 4 then '{odd}' else '{}' end::text[] from generate_series(1, 9) n"
    )
    attempts = hand.claim()
    refuse(db, code, "update or delete")
    freed: list[Any] = []

    async def settle(made: Link) -> None:
        settler = Settler(made, freed.extend)
        settler.worker_id = hand.id
        for attempt in attempts:
            settler.add(attempt, COMPLETED)
        settling = asyncio.create_task(settler.run())
        await asyncio.to_thread(wait_until, lambda: len(freed) >= 8)
        db.execute("drop trigger no on pgqueue.jobs_live")
        settler.stop()
        await settling

    with_link(dsn, settle)
    assert len(freed) == 9
    assert states(db, odd=False) == {"completed"}
    assert "completed" in states(db, odd=True) or code not in PASSING


def break_claims_under_limits(db: Connection[Any]) -> None:
    """Makes the statement claim_limited fail, as a missing right to the table of seats does. The statement claim does not use this table."""
    db.execute("insert into pgqueue.limits (queue, concurrency) values ('limited', 50)")
    refuse(db, "42501", "insert or update", "pgqueue.seats", "true")


def claims(db: Connection[Any], app: App, play: Callable[[Claimer], Coroutine[Any, Any, Any]]) -> Any:
    """Makes a claimer that has found all lanes, calls ``play`` with it, and returns the result of ``play``."""
    claimer = Worker(app, WorkerSettings(queues={"default": None, "limited": None}, poll=0.1))._claimer
    claimer.worker_id = Hand(db, ["ok"]).id

    async def whole() -> Any:
        try:
            for _ in range(5):  # each survey finds one more lane of a queue
                await claimer._survey()
            return await play(claimer)
        finally:
            await claimer._link.close()

    return asyncio.run(whole())


@pytest.mark.parametrize("jobs", [1, 3, 9])
@pytest.mark.parametrize("priority", [-1, 1])
def test_jobs_stay_pending_and_delay_no_other_jobs_if_every_claim_under_limits_fails(
    db: Connection[Any], ok: App, jobs: int, priority: int
) -> None:
    break_claims_under_limits(db)
    add = "insert into pgqueue.jobs (task, queue, priority) select 'ok', %s, %s from generate_series(1, %s)"
    db.execute(add, ["default", 0, 4])
    db.execute(add, ["limited", priority, jobs])
    assert claims(db, ok, lambda claimer: claimer._claim(100)) == 4
    assert count_states(db) == [("ok", "pending", jobs), ("ok", "running", 4)]
    db.execute("drop trigger no on pgqueue.seats")
    assert claims(db, ok, lambda claimer: claimer._claim(100)) == jobs


def test_a_job_becomes_dead_if_the_claim_under_a_limit_fails_for_this_job_alone(
    db: Connection[Any], ok: App
) -> None:
    db.execute("insert into pgqueue.limits (queue, concurrency) values ('limited', 50)")
    add = "insert into pgqueue.jobs (task, queue, priority, tags) values ('ok', 'limited', %s, %s)"
    for priority, tags in ((0, "{}"), (1, "{odd}"), (2, "{}")):
        db.execute(add, [priority, tags])
    refuse(db, "P0001", "update")
    assert claims(db, ok, lambda claimer: claimer._claim(100)) == 2
    assert count_states(db) == [("ok", "dead", 1), ("ok", "running", 2)]


def test_a_claimer_forgets_the_failed_claims_of_a_round_before_the_next_round(
    db: Connection[Any], ok: App
) -> None:
    """Otherwise an error of the next round, which can concern all jobs, would count as an error of only a few jobs."""
    db.execute("insert into pgqueue.jobs (task, tags) values ('ok', '{odd}')")
    refuse(db, "P0001", "update")

    async def play(claimer: Claimer) -> None:
        with pytest.raises(psycopg.errors.RaiseException):
            await claimer._turn()
        assert claimer._claims.singly.failures
        db.execute("drop table pgqueue.jobs_live cascade")
        with pytest.raises(SchemaMissingError):
            await claimer._turn()
        assert not claimer._claims.singly.failures

    claims(db, ok, play)


def test_urgent_jobs_do_not_become_dead_if_their_claim_fails(db: Connection[Any], ok: App) -> None:
    """Only their lane is skipped for a while."""
    db.execute("insert into pgqueue.jobs (task, tags) values ('ok', '{odd}')")
    refuse(db, "P0001", "update")

    async def play(claimer: Claimer) -> None:
        claimer._urgent_allowance._filling_priority, claimer._ahead = 5, lambda: 1
        await claimer._look_for_urgent_jobs()
        assert claimer._lanes.all() == [("default", 0)]
        assert claimer._claims.singly.awake(claimer._lanes.all()) == []

    claims(db, ok, play)
    assert count_states(db) == [("ok", "pending", 1)]


@pytest.mark.parametrize("code", CODES + PASSING)
def test_the_other_jobs_are_rescued_or_ended_whatever_a_trigger_raises_for_one_job(
    db: Connection[Any], dsn: str, code: str
) -> None:
    hand = Hand(db, ["ok"])
    odd = "case n when 4 then '{odd}' else '{}' end::text[] from generate_series(1, 9) n"
    db.execute(f"insert into pgqueue.jobs (task, tags) select 'ok', {odd}".encode())
    assert len(hand.claim()) == 9
    db.execute(f"insert into pgqueue.jobs (task, expires_at, tags) select 'old', now(), {odd}".encode())
    refuse(db, code, "update or delete")
    expire_lease(db, hand.id)
    with_link(dsn, lambda made: rescue_all(made, 3, Tally()))
    with_link(dsn, lambda made: finish_overdue_once(made, Tally()))
    assert states(db, odd=False) == {"retrying", "cancelled"}
    assert states(db, odd=True) == {"running", "pending"}
