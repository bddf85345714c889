"""Leases and jobs survive silent connections, locks, crashes and failovers.

A connection is silent if it gets no answer any more, although neither side has closed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, Job
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost, Outage
from pgqueue.database.run import CLAIMING, run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.lost_claims import jobs_of_lost_claims
from pgqueue.worker.ending import Ending, NothingToSettle
from pgqueue.worker.heartbeat import Heartbeat
from pgqueue.worker.running.conclusions import succeeded
from pgqueue.worker.settler import Settler
from tests.conclusions import reason_of
from tests.factories import add_jobs
from tests.proxy import proxy_to
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

# ------------------------------------------------------------------ silent connections


def test_a_silent_connection_is_closed_and_the_next_statement_gets_a_new_connection(
    dsn: str, caplog: Any
) -> None:
    async def play(via: Any) -> None:
        link = Link(via.dsn, "pgqueue test", Outage(via.dsn), limit=0.2)
        await link.connection()
        via.silent = "pgqueue test"
        with pytest.raises(ConnectionLost, match=r"no answer for 2\.2 s"):
            await link.once(statements.read_clock())
        assert await link.once(statements.read_clock()) > 0
        await link.close()

    with proxy_to(dsn) as proxy:
        asyncio.run(play(proxy))
    assert "went away" not in caplog.text, (
        "only this connection was silent, so the log does not say that the server went away"
    )


def test_statements_on_other_connections_end_when_one_connection_is_found_to_be_silent(dsn: str) -> None:
    async def play(via: Any) -> None:
        outage = Outage(via.dsn)
        first = Link(via.dsn, "pgqueue test", outage, limit=0.2)
        other = Link(via.dsn, "pgqueue test", outage, limit=600.0)
        await asyncio.gather(first.connection(), other.connection())
        via.silent = "pgqueue test"
        waiting = asyncio.create_task(other.once(statements.read_clock()))
        with pytest.raises(ConnectionLost, match="no answer"):
            await first.once(statements.read_clock())
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(waiting, 30)
        assert await other.once(statements.read_clock()) > 0
        await asyncio.gather(first.close(), other.close())

    with proxy_to(dsn) as proxy:
        asyncio.run(play(proxy))


def test_a_connection_that_is_silent_from_its_login_on_is_given_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(via: Any) -> None:
        via.silent, via.new_too = "", True
        link = Link(f"{via.dsn} connect_timeout=2", "pgqueue test", Outage(via.dsn))
        with pytest.raises(ConnectionLost):
            await link.once(statements.read_clock())

    monkeypatch.setattr("pgqueue.database.run.KEEPALIVE", {"connect_timeout": 2})
    with proxy_to(dsn) as proxy:
        asyncio.run(play(proxy))


def test_a_heartbeat_whose_connection_is_silent_keeps_the_lease_by_a_new_connection(
    dsn: str, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    lost: list[int] = []
    with proxy_to(dsn) as proxy:
        heartbeat = Heartbeat(
            Outage(proxy.dsn), every=0.3, lease=6.0, lost=lost.append, cancel=lambda ids: None
        )
        heartbeat.start(hand.id, monotonic())
        first = heartbeat.expires
        wait_until(lambda: heartbeat.expires > first)
        proxy.silent = "pgqueue heartbeat"
        then = heartbeat.expires
        wait_until(lambda: heartbeat.expires > then)
        heartbeat.stop(2.0)
    assert lost == []


def test_a_lease_begins_when_it_is_requested_and_not_when_the_answer_arrives(
    dsn: str, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    lost: list[int] = []
    heartbeat = Heartbeat(Outage(dsn), every=0.01, lease=30.0, lost=lost.append, cancel=lambda ids: None)
    heartbeat.start(hand.id, monotonic() - 31)  # as if the registration had been answered after 31 s
    assert heartbeat.expires < monotonic()
    wait_until(lambda: lost == [hand.id])
    heartbeat.stop(2.0)


# ------------------------------------------------------------------ locks


def test_a_heartbeat_does_not_wait_for_a_lock_on_the_jobs(
    db: Connection[Any], connect: Callable[..., Any]
) -> None:
    hand = Hand(db, ["t"])
    other = connect(autocommit=False)
    other.execute("lock table pgqueue.jobs in access exclusive mode")
    db.execute("set statement_timeout = '5s'")
    assert run(db, statements.heartbeat(hand.id, 60, "running")) == (hand.id, False)


def test_the_heartbeat_goes_on_while_a_lock_keeps_it_from_reading_cancel_requests(
    dsn: str, db: Connection[Any], connect: Callable[..., Any]
) -> None:
    hand = Hand(db, ["t"])
    other = connect(autocommit=False)
    other.execute("lock table pgqueue.jobs in access exclusive mode")
    lost: list[int] = []
    heartbeat = Heartbeat(Outage(dsn), every=0.2, lease=2.0, lost=lost.append, cancel=lambda ids: None)
    heartbeat.start(hand.id, monotonic())
    begun = monotonic()
    wait_until(lambda: heartbeat.expires > begun + 6)  # three times the length of the lease
    heartbeat.stop(2.0)
    assert lost == []


@pytest.mark.parametrize("how", ["cancel", "edit"])
def test_an_uncommitted_change_of_a_running_job_delays_only_the_outcome_of_this_job(
    dsn: str, db: Connection[Any], connect: Callable[..., Any], caplog: Any, how: str
) -> None:
    hand = Hand(db, ["t"])
    jobs = add_jobs(db, count=7)
    attempts = hand.claim()
    other = connect(autocommit=False)
    other.execute("select id from pgqueue.jobs_live where id = %s for update", [jobs[3]])
    if how == "cancel":
        other.execute("select pgqueue.cancel(%s)", [jobs[3]])
    freed: list[Attempt] = []

    async def play() -> None:
        link = Link(dsn, "pgqueue test", Outage(dsn))
        settler = Settler(link, freed.extend)
        settler.worker_id = hand.id
        for attempt in attempts:
            settler.add(attempt, COMPLETED)
        running = asyncio.create_task(settler.run())
        async with asyncio.timeout(60):
            while len(freed) < 6:
                await asyncio.sleep(0.01)
            late = add_jobs(db, count=1)
            settler.add(hand.claim()[0], COMPLETED)
            while len(freed) < 7:
                await asyncio.sleep(0.01)
            assert [attempt.id for attempt in freed][-1:] == late, (
                "an outcome that is added later does not wait either"
            )
            other.rollback()
            settler.stop()
            await running
        await link.close()

    asyncio.run(play())
    assert sorted(attempt.id for attempt in freed)[:7] == jobs
    assert caplog.text.count("waits for a transaction that holds the row of the job") == 1
    assert db.execute("select distinct state from pgqueue.jobs").fetchall() == [("completed",)]


# ------------------------------------------------------------------ crashes and failovers


def claiming(dsn: str, given: str) -> Connection[Any]:
    """Opens a session with the settings of a claimer. Without these settings, synchronous_commit would be ``given``."""
    connection = psycopg.connect(dsn, autocommit=True, options=f"-c synchronous_commit={given}")
    connection.execute(CLAIMING.encode())
    return connection


def durability(connection: Connection[Any], claim: Any) -> tuple[int, str]:
    """Returns how many jobs the claim takes, and the synchronous_commit of its transaction."""
    with connection.transaction():
        rows = connection.execute(claim.text, claim.parameters).fetchall()
        [(setting,)] = connection.execute("show synchronous_commit").fetchall()
    return len(rows), setting


@pytest.mark.parametrize("given", ["on", "local"])
def test_a_claim_that_takes_a_seat_is_on_disk_before_its_job_begins(
    dsn: str, db: Connection[Any], given: str
) -> None:
    hand = Hand(db, ["t"])
    db.execute("insert into pgqueue.limits (per_key, concurrency) values (true, 1)")
    add_jobs(db, "k")
    add_jobs(db)
    with claiming(dsn, given) as connection:
        limited = statements.claim_limited(hand.id, ["t"], ("default", 0), "", 5)
        plain = statements.claim(hand.id, ["t"], [("default", 0)], [(0.0, 0)], 5)
        assert durability(connection, plain) == (1, "off")
        assert durability(connection, limited) == (1, given)
        assert durability(connection, limited) == (0, "off")
        assert connection.execute("show synchronous_commit").fetchone() == ("off",)


def test_attempts_whose_claims_a_crash_of_the_server_has_undone_are_found(db: Connection[Any]) -> None:
    hand, other = Hand(db, ["t"]), Hand(db, ["t"])
    jobs = add_jobs(db, count=5)
    ours = {attempt.id: attempt for attempt in hand.claim()}
    undone, again, elsewhere, done, kept = jobs
    db.execute(
        "update pgqueue.jobs_live set state = 'pending', worker_id = null, attempt = 0 where id = any(%s)",
        [[undone, again, elsewhere]],
    )
    held = [(attempt.id, attempt.lease_id) for attempt in ours.values()]
    db.execute(
        "update pgqueue.jobs_live set run_at = now() + interval '1 h' where id = any(%s)",
        [[undone, elsewhere]],
    )
    assert [attempt.id for attempt in hand.claim()] == [again]
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 h' where id = %s", [undone])
    db.execute("update pgqueue.jobs_live set run_at = now() where id = %s", [elsewhere])
    assert [attempt.id for attempt in other.claim()] == [elsewhere]
    assert hand.settle(ours[done], COMPLETED)
    assert sorted(run(db, statements.find_lost_attempts(hand.id, held))) == [undone, again, elsewhere]
    assert kept not in run(db, statements.find_lost_attempts(hand.id, held))


def test_the_next_lease_id_is_larger_even_if_a_crash_has_undone_the_last_claim(db: Connection[Any]) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db)
    with db.transaction(force_rollback=True):
        [former] = hand.claim()
    [later] = hand.claim()
    assert later.lease_id > former.lease_id
    assert later.lease_id < 2**53, "every language reads such a number exactly from JSON"
    db.execute("update pgqueue.jobs_live set state = 'pending', worker_id = null, lease_id = %s", [2**53])
    [ahead] = hand.claim()
    assert ahead.lease_id == 2**53 + 2, (
        "the lease_id grows even if the last one was made by a clock that was ahead"
    )


def test_the_result_of_a_lost_attempt_is_not_settled(app: App, db: Connection[Any]) -> None:
    @app.task(name="t")
    def t() -> None: ...

    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    assert reason_of(succeeded(t.spec, attempt, 7)) == "completed"
    attempt.end(Ending.LOST)
    assert succeeded(t.spec, attempt, 7) is NothingToSettle.LEASE_LOST
    assert succeeded(t.spec, attempt, None) is NothingToSettle.LEASE_LOST


def test_no_two_workers_have_the_same_id(db: Connection[Any]) -> None:
    said = {
        "host": "h", "pid": 1, "version": "0", "executor": "async", "slots": 1, "queues": ["q"], "tasks": ["t"],
        "lease_seconds": 60.0,
    }  # fmt: skip
    ids = {run(db, statements.register_worker(**said)) for _ in range(20)}  # type: ignore[arg-type]
    assert len(ids) == 20
    assert all(number is not None and 0 < number < 2**53 for number in ids)
    taken = next(iter(ids))
    assert run(db, statements.register_worker(worker_id=taken, **said)) is None  # type: ignore[arg-type]


def test_after_a_failover_no_new_job_gets_the_uid_of_an_earlier_job(app: App, db: Connection[Any]) -> None:
    @app.task(name="t")
    def t(job: Job) -> None: ...

    hand = Hand(db, ["t"])
    first = t.enqueue()
    [attempt] = hand.claim()
    uid = attempt.job().uid
    read = first.job()
    assert read is not None
    assert read.uid == uid
    assert hand.settle(attempt, Outcome.retried(0, ValueError()))
    assert hand.claim()[0].job().uid == uid, "all attempts of a job have the same uid"
    db.execute("delete from pgqueue.jobs")
    db.execute("select setval('pgqueue.jobs_id_seq', %s, false)", [first.id])
    second = t.enqueue()
    again = second.job()
    assert again is not None
    assert (again.id, again.uid != uid) == (first.id, True)


def test_only_jobs_that_the_worker_does_not_know_are_found_as_jobs_of_lost_claims(
    dsn: str, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db, count=3)
    known = hand.claim(2)
    known_ids = {attempt.id for attempt in known}
    [lost] = hand.claim()

    async def play() -> list[Any]:
        link = Link(dsn, "pgqueue test", Outage(dsn))
        rows = await jobs_of_lost_claims(link, hand.id, known_ids)
        await link.close()
        return rows

    assert [row[0] for row in asyncio.run(play())] == [lost.id]
