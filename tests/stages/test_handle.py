"""Tests of handles. A handle reads a job and waits for the job's end, from sync and from async code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Job, JobHandle
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    InvalidOptionError,
    JobFailedError,
    JobNotFoundError,
    JobUnchangedError,
    WaitTimeoutError,
)
from pgqueue.model.outcome import Outcome
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

ENDS = {
    "completed": Outcome.completed('{"a": [1, null]}'),
    "dead": Outcome.dead("permanent_error", ValueError("boom")),
    "cancelled": Outcome.cancelled("enough"),
}


@pytest.fixture
def handle(app: App) -> JobHandle:
    @app.task(name="t")
    def t() -> None: ...

    return t.enqueue()


@pytest.fixture(params=["sync", "async"])
def wait(request: pytest.FixtureRequest, app: App) -> Callable[..., Any]:
    """Returns a function that waits for the result of a handle. It calls the sync method ``result`` or the async method ``aresult``."""
    if request.param == "sync":
        return JobHandle.result

    def result(handle: JobHandle, timeout: float | None = None) -> Any:
        async def awaited() -> Any:
            try:
                return await handle.aresult(timeout)
            finally:
                await app.aclose()

        return asyncio.run(awaited())

    return result


@pytest.fixture(params=["job", "ajob"])
def read(request: pytest.FixtureRequest, app: App) -> Callable[[JobHandle], Job]:
    async def awaited(handle: JobHandle) -> Job:
        try:
            return await handle.ajob()
        finally:
            await app.aclose()

    return JobHandle.job if request.param == "job" else lambda handle: asyncio.run(awaited(handle))


def test_a_handle_reads_its_job_as_it_is_now(app, handle, db, read):
    assert read(handle).state == "pending"
    Hand(db, ["t"]).claim()
    job = read(app.handle(handle.id))
    assert (job.id, job.state, job.attempt, job.args, job.is_final) == (handle.id, "running", 1, {}, False)


def test_a_handle_of_an_enqueue_that_was_rolled_back_raises_an_error(app, connect, read, wait):
    @app.task(name="t")
    def t() -> None: ...

    with connect(autocommit=False) as connection:
        handle = t.using(connection).enqueue()
        for look in (read, wait):
            with pytest.raises(JobNotFoundError, match="rolled back or has not committed"):
                look(handle)
        connection.rollback()
    with pytest.raises(JobNotFoundError, match=f"PGQ-503  There is no job {handle.id}"):
        read(handle)


@pytest.mark.parametrize("state", ENDS)
def test_waiting_for_a_finished_job_ends_immediately(handle, db, wait, state):
    hand = Hand(db, ["t"])
    hand.settle(hand.claim()[0], ENDS[state])
    if state == "completed":
        assert wait(handle) == {"a": [1, None]}
        return
    with pytest.raises(JobFailedError, match="PGQ-508") as caught:
        wait(handle)
    assert (caught.value.job_id, caught.value.state) == (handle.id, state)
    assert caught.value.last_error == {"dead": "ValueError: boom", "cancelled": "enough"}[state]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_dead_job_is_revived_and_a_job_in_another_state_is_not(app, handle, db, kind):
    async def arevive(handle: JobHandle) -> None:
        try:
            await handle.arevive()
        finally:
            await app.aclose()

    def revive(handle: JobHandle) -> None:
        handle.revive() if kind == "sync" else asyncio.run(arevive(handle))

    hand = Hand(db, ["t"])
    with pytest.raises(JobUnchangedError, match=f"Job {handle.id} was not revived: it is pending"):
        revive(handle)
    hand.settle(hand.claim()[0], ENDS["dead"])
    revive(handle)
    assert handle.job().state == "pending"
    with pytest.raises(JobNotFoundError):
        revive(app.handle(10**9))


def test_a_job_whose_unique_key_an_unfinished_job_has_is_not_revived(app, db):
    keyed = app.task(name="k")(lambda: None).using(unique_key="k")
    first = keyed.enqueue()
    first.cancel()
    keyed.enqueue()
    with pytest.raises(JobUnchangedError, match="an unfinished job has its unique key"):
        first.revive()


def test_a_job_is_revived_in_the_transaction_of_the_caller(handle, connect):
    handle.cancel()
    with connect(autocommit=False) as connection:
        handle.revive(connection)
        connection.rollback()
    assert handle.job().state == "cancelled"


@pytest.mark.parametrize("timeout", [0, 0.05, "50ms", timedelta(milliseconds=50), -1])
def test_waiting_for_a_job_ends_with_an_error_at_the_timeout(handle, wait, timeout):
    with pytest.raises(
        WaitTimeoutError, match=rf"Job {handle.id} is not finished after .*pgq why {handle.id}$"
    ):
        wait(handle, timeout)


def test_a_bad_timeout_is_refused_before_the_wait_begins(handle, wait):
    with pytest.raises(InvalidOptionError, match="timeout is 'soon'"):
        wait(handle, "soon")


def test_the_end_of_a_job_wakes_a_handle_that_waits_for_it(handle, db, wait, monkeypatch):
    # The handle polls only every 60 s, so only the notification can end its wait before the timeout of 30 s.
    monkeypatch.setattr("pgqueue.app.lookout.POLL", 60.0)
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    results: list[Any] = []
    waiter = threading.Thread(target=lambda: results.append(wait(handle, 30)))
    waiter.start()
    wait_until(lambda: is_waited_for(db))
    hand.settle(attempt, ENDS["completed"])
    waiter.join(20)
    assert results == [{"a": [1, None]}]


def is_waited_for(db: Connection[Any]) -> bool:
    """Returns whether a waiting handle listens and has read the row. Then its session is idle, and the last statement of the session has read the job."""
    found = db.execute(
        "select 1 from pg_stat_activity where application_name = 'pgqueue wait' and state = 'idle'"
        " and query like '%from pgqueue.jobs%' and datname = current_database()"
    ).fetchall()
    return bool(found)


def test_the_end_of_a_job_sends_no_notification_if_no_handle_waits(handle, db, connect):
    listener = connect()
    listener.execute("listen pgqueue_finished")
    hand = Hand(db, ["t"])
    hand.settle(hand.claim()[0], ENDS["completed"])
    db.execute("notify pgqueue_finished, 'end'")
    assert [note.payload for note in listener.notifies(timeout=20, stop_after=1)] == ["end"]


def test_a_job_that_was_read_with_a_handle_has_no_lease(handle):
    job = handle.job()
    job.check()
    with pytest.raises(RuntimeError, match="was read, not claimed"):
        job.transaction()


def test_the_error_of_a_handle_without_an_app_says_how_to_make_a_handle_with_an_app():
    with pytest.raises(RuntimeError, match=r"app\.handle\(id\)"):
        JobHandle(1).job()


def test_a_list_of_jobs_contains_all_jobs_even_if_one_of_them_cannot_be_decoded(app, handle, db):
    db.execute("insert into pgqueue.jobs (task, args) values ('t', %s)", ['{"a": 1e131071}'])
    found = run(db, statements.list_jobs())
    assert [job.id for job in found] == [handle.id + 1, handle.id]
    assert isinstance(found[0].args, str)


@pytest.mark.parametrize("wrong", ["42", "x", 1.5, True, None, b"1", 2**63])
def test_a_value_that_is_not_an_id_is_refused(app: App, wrong: Any) -> None:
    with pytest.raises(InvalidOptionError, match="is no id of a job"):
        app.handle(wrong)
