"""Tests with a server that is read-only for a while, and with COMMITs whose answer does not arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import in_doubt as database_in_doubt
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import run
from pgqueue.errors import CommitUnconfirmedError, LeaseLostError, ReadOnlyServerError
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker import in_doubt
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.ending import Ending, NothingToSettle, OwnCommit
from pgqueue.worker.settler import Settler
from tests.factories import add_jobs
from tests.proxy import proxy_to
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

# ------------------------------------------------------------------ a server that was read-only for a while


@pytest.fixture
def read_only(dsn: str, db: Connection[Any]) -> Callable[[bool], object]:
    """Returns a function. Called with True, it makes new sessions read-only, as a host with a full disk does. Called with False, it makes them writable."""
    name = db.info.dbname
    return lambda on: db.execute(
        f"alter database {name} set default_transaction_read_only = {'on' if on else 'off'}".encode()
    )


def test_a_session_that_began_while_the_server_was_read_only_is_replaced(
    dsn: str, db: Connection[Any], read_only: Callable[[bool], object]
) -> None:
    [job] = add_jobs(db)

    async def play() -> None:
        link = Link(dsn, "pgqueue test", Outage(dsn))
        read_only(True)
        with pytest.raises(ReadOnlyServerError):
            await link.once(statements.cancel(job))
        read_only(False)
        assert await link.once(statements.cancel(job)) == "cancelled"
        await link.close()

    asyncio.run(play())


def test_a_pool_that_began_while_the_server_was_read_only_works_afterwards(
    dsn: str, db: Connection[Any], read_only: Callable[[bool], object]
) -> None:
    app = App(dsn, pool_size=1)

    @app.task(name="t")
    def t() -> None: ...

    async def play() -> None:
        try:
            read_only(True)
            with pytest.raises(ReadOnlyServerError):
                await t.aenqueue()
            read_only(False)
            try:
                await t.aenqueue()
            except ReadOnlyServerError:  # the pool opened its next connection before the server was writable
                await t.aenqueue()
        finally:
            await app.aclose()

    asyncio.run(play())
    read_only(True)
    with pytest.raises(ReadOnlyServerError):
        t.enqueue()
    read_only(False)
    t.enqueue()
    app.close()


# ------------------------------------------------------------------ the answer to a COMMIT


@pytest.mark.parametrize("seated", [False, True])
@pytest.mark.parametrize("made", [True, False])
def test_the_log_says_correctly_whether_a_commit_without_an_answer_was_made(
    dsn: str, db: Connection[Any], caplog: Any, monkeypatch: pytest.MonkeyPatch, made: bool, seated: bool
) -> None:
    """The database gave the handler no answer before the handler's patience ended, so the settler asks the database again."""
    caplog.set_level(logging.INFO, "pgqueue")
    monkeypatch.setattr(database_in_doubt, "PATIENCE", 0.0)
    hand = Hand(db, ["t"])
    [job] = add_jobs(db)
    [attempt] = hand.claim()
    attempt.may_have_seats = seated
    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn, pool_size=1)

        @app.task(name="t")
        def t() -> None: ...

        with app.connection():
            pass
        with (
            pytest.raises(CommitUnconfirmedError),
            AttemptLease(attempt, app).transaction(None, None),
        ):
            proxy.delivers, proxy.cut_at = made, b"commit" if seated else b"COMMIT"
        app.close()
    assert attempt.own_commit is OwnCommit.UNCONFIRMED

    settle_unconfirmed(dsn, hand, attempt)
    state = "completed" if made else "retrying"
    assert db.execute("select state from pgqueue.jobs where id = %s", [job]).fetchone() == (state,)
    [line] = [r.getMessage() for r in caplog.records if f"job {job}" in r.getMessage()]
    assert line.endswith(
        "but was made; the job is completed" if made else "and was not made; the job is retrying"
    )


@pytest.mark.parametrize("seated", [False, True])
@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_goes_on_after_a_commit_without_an_answer_only_if_the_commit_was_made(
    dsn: str, db: Connection[Any], asynchronous: bool, made: bool, seated: bool
) -> None:
    hand = Hand(db, ["t"])
    [job] = add_jobs(db)
    [attempt] = hand.claim()
    attempt.may_have_seats = seated
    went_on: list[bool] = []
    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn, pool_size=1)

        @app.task(name="t")
        def t() -> None: ...

        def cut() -> None:
            proxy.delivers, proxy.cut_at = made, b"commit" if seated else b"COMMIT"

        async def aplay() -> None:
            async with AttemptLease(attempt, app).atransaction(None, None):
                cut()
            went_on.append(True)
            await app.aclose()

        def play() -> None:
            with AttemptLease(attempt, app).transaction(None, None):
                cut()
            went_on.append(True)

        with nullcontext() if made else pytest.raises(psycopg.OperationalError):
            asyncio.run(aplay()) if asynchronous else play()
        app.close()
    assert went_on == [True] * made
    assert attempt.own_commit is (OwnCommit.CONFIRMED if made else OwnCommit.NONE)
    state = "completed" if made else "running"
    assert db.execute("select state from pgqueue.jobs where id = %s", [job]).fetchone() == (state,)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_whose_commit_was_not_made_learns_that_its_lease_was_lost_meanwhile(
    dsn: str, db: Connection[Any], asynchronous: bool
) -> None:
    """The loss did not interrupt the handler, because the COMMIT could have been made. So the handler must not go on now."""
    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    attempt.may_have_seats = False
    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn, pool_size=1)

        @app.task(name="t")
        def t() -> None: ...

        def cut() -> None:
            proxy.delivers, proxy.cut_at = False, b"COMMIT"
            attempt.end(Ending.LOST)

        async def aplay() -> None:
            async with AttemptLease(attempt, app).atransaction(None, None):
                cut()

        def play() -> None:
            with AttemptLease(attempt, app).transaction(None, None):
                cut()

        with pytest.raises(LeaseLostError):
            asyncio.run(aplay()) if asynchronous else play()
        app.close()
    assert attempt.nothing_to_settle() is NothingToSettle.LEASE_LOST


def test_the_question_about_a_commit_returns_lost_if_the_worker_no_longer_has_the_job(
    dsn: str, db: Connection[Any]
) -> None:
    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("update pgqueue.jobs_live set state = 'pending', worker_id = null")
    assert in_doubt.ask(dsn, attempt) is in_doubt.Fate.LOST


def test_the_question_about_a_commit_waits_for_the_transaction_in_doubt(
    dsn: str, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    """Without the wait, the answer would be that the job is running, and the handler would run again although its COMMIT is being made."""
    hand = Hand(db, ["t"])
    add_jobs(db)
    [attempt] = hand.claim()
    other = connect(autocommit=False)
    run(other, statements.complete(hand.id, [(attempt.id, attempt.lease_id, True)]))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(in_doubt.ask, dsn, attempt)
        wait_until(lambda: db.execute("select from pg_locks where not granted").fetchone() is not None)
        other.commit()
        assert asked.result(30) is in_doubt.Fate.MADE


@pytest.mark.parametrize("again", [False, True])
def test_a_commit_without_an_answer_is_not_logged_as_made_if_the_job_was_released(
    dsn: str, db: Connection[Any], caplog: Any, again: bool
) -> None:
    """Without ``again``, the row still has the lease_id of the attempt. With ``again``, the job was completed under another lease_id."""
    hand = Hand(db, ["t"])
    [job] = add_jobs(db)
    [attempt] = hand.claim()
    attempt.own_commit = OwnCommit.UNCONFIRMED
    assert hand.settle(attempt, Outcome.released())
    if again:
        [claimed] = hand.claim()
        assert hand.settle(claimed, COMPLETED)
    settle_unconfirmed(dsn, hand, attempt)
    [line] = [r.getMessage() for r in caplog.records if f"job {job}" in r.getMessage()]
    assert line.endswith("and was not made: its lease was lost")


def settle_unconfirmed(dsn: str, hand: Hand, attempt: Attempt) -> None:
    """Settles an attempt whose handler failed because the handler's COMMIT got no answer."""

    async def play() -> None:
        link = Link(dsn, "pgqueue test", Outage(dsn))
        settler = Settler(link, lambda attempts: None)
        settler.worker_id = hand.id
        settler.add(attempt, Outcome.retried(60, ValueError("lost")))
        settler.stop()
        await asyncio.wait_for(settler.run(), 60)
        await link.close()

    asyncio.run(play())
