"""The handle of a batch seals, cancels, retries and waits, and members use the handle of their batch."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, BatchHandle, Job
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import BatchClosedError, BatchNotFoundError, InvalidOptionError, WaitTimeoutError
from tests.batches import counts, follow_ups
from tests.factories import look
from tests.stages.built_batches import FOLLOWING, drain, follow, row, rows

pytestmark = pytest.mark.usefixtures("consistent_batches")


@pytest.fixture
def app(batch_app: App) -> App:
    return batch_app


# ------------------------------------------------------------------ handles


def test_a_handle_of_a_batch_that_does_not_exist_says_so(app: App, db: Connection[Any]) -> None:
    handle = app.batch_handle(99)
    for call in (handle.progress, handle.state, handle.cancel, handle.retry, handle.seal, handle.join):
        with pytest.raises(BatchNotFoundError, match="PGQ-540"):
            call()
    with pytest.raises(BatchNotFoundError, match="no batch 99"):
        handle.add([row.job(1)])
    with pytest.raises(InvalidOptionError, match="no id of a batch"):
        app.batch_handle("7")  # type: ignore[arg-type]


def test_a_handle_seals_cancels_retries_and_waits(app: App, db: Connection[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("pgqueue.app.batch_handle.RETRIED_AT_ONCE", 2)
    b = app.batch("import", open=True, **FOLLOWING)
    b.add(rows(5))
    handle: BatchHandle = pickle.loads(pickle.dumps(b.handle))
    assert handle == b.handle
    assert handle.seal() == "sealed"
    with pytest.raises(WaitTimeoutError, match=r"has not ended after 0\.1 s"):
        handle.join(0.1)
    assert handle.cancel() == "cancelled"
    assert handle.join().state == "cancelled"
    assert handle.cancel() == "ended"
    assert handle.retry() == 5
    drain(app)
    assert handle.join("5s").completed == 5
    assert follow_ups(db, handle.id) == ["on_success", "on_end"]

    async def again() -> tuple[Any, ...]:
        c = app.abatch("import", open=True)
        await c.add([row.job(1)])
        found = (
            await c.handle.aseal(), await c.handle.acancel(), (await c.handle.ajoin()).state, await c.handle.aretry(),
            await c.handle.astate(), await c.handle.acancel(),
        )  # fmt: skip
        with pytest.raises(BatchClosedError):
            await c.handle.aadd([row.job(1)])
        await app.aclose()
        return found

    assert asyncio.run(again()) == ("sealed", "cancelled", "cancelled", 1, "running", "cancelled")


def test_a_handle_joins_the_callers_transaction(
    app: App, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    b = app.batch("import", open=True)
    b.add(rows(1))
    with connect(autocommit=False) as conn:
        b.handle.add(rows(25), using=conn)
        b.handle.seal(conn)
        b.handle.cancel(conn)
        conn.rollback()
    assert (b.handle.state(), counts(db, b.handle.id)) == ("open", (1, 1, 0, 0))


# ------------------------------------------------------------------ with a real worker


def test_dead_members_are_retried_and_only_these_run_again(app: App, db: Connection[Any]) -> None:
    with app.batch("import", **FOLLOWING) as b:
        b.add(row.using(max_attempts=1).job(n) for n in (-1, 1, 2))
    drain(app)
    assert (b.handle.state(), follow_ups(db, b.handle.id)) == ("failed", ["on_failure", "on_end"])
    [(bad,)] = db.execute("select id from pgqueue.jobs_dead").fetchall()
    assert b.handle.retry() == 1
    run(db, statements.edit(bad, {"args": {"n": 5}}))
    drain(app)
    assert b.handle.state() == "completed"
    assert follow_ups(db, b.handle.id) == ["on_success", "on_failure", "on_end"]


@pytest.mark.parametrize(("task", "expected"), [("crawl", 15), ("acrawl", 15), ("crawl_in_process", 4)])
def test_members_add_members_to_a_sealed_batch_which_ends_after_the_last_one(
    app: App, db: Connection[Any], task: str, expected: int
) -> None:
    with app.batch("crawl", at_once=4, **FOLLOWING) as b:
        b.add([app.tasks[task].job(depth=3)])
    drain(app)
    assert b.handle.state() == "completed"
    assert counts(db, b.handle.id) == (expected, 0, expected, 0)
    assert follow_ups(db, b.handle.id) == ["on_success", "on_end"]


def test_members_that_were_added_in_a_transaction_that_is_rolled_back_do_not_exist(
    app: App, db: Connection[Any], dsn: str
) -> None:
    own = App(dsn)
    attempts: list[int] = []

    @own.task(name="twice", retry=[0.0])
    def twice(job: Job, n: int) -> None:
        attempts.append(n)
        with job.transaction() as conn:
            if n == 0:
                job.batch.add([twice.job(n=1)], using=conn)
                if len(attempts) == 1:
                    raise ValueError("once")

    with own.batch("b") as b:
        b.add([twice.job(n=0)])
    drain(own)
    assert attempts == [0, 0, 1]
    assert counts(db, b.handle.id) == (2, 0, 2, 0)
    own.close()


def test_a_job_of_no_batch_has_no_batch(app: App, db: Connection[Any]) -> None:
    handle = follow.using(max_attempts=1).enqueue("x")
    drain(app)
    assert "belongs to no batch" in str(look(db, handle.id, "last_error"))


def test_a_node_of_a_workflow_that_uses_its_batch_learns_that_it_belongs_to_none(
    db: Connection[Any], dsn: str
) -> None:
    own = App(dsn)
    said: list[str] = []

    @own.task(name="lonely", retry=False)
    def lonely(job: Job) -> None:
        calls = [
            lambda: job.batch.add([lonely.job()]),
            job.batch.seal,
            job.batch.cancel,
            job.batch.retry,
            job.batch.progress,
        ]
        for call in calls:
            with pytest.raises(BatchNotFoundError) as caught:
                call()
            said.append(str(caught.value))

    flow = own.enqueue_workflow(lonely.job(), name="w")
    drain(own)
    assert [f"ob {flow.job('lonely').id} belongs to no batch" in one for one in said] == [True] * 5
    assert flow.state() == "completed"
    own.close()
