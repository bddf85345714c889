"""Batches that are made in Python: what is stored, in which transactions, and what handles and handlers see."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, BatchHandle, Job
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    BatchClosedError,
    BatchNotFoundError,
    CommitUnconfirmedError,
    InvalidArgumentsError,
    InvalidOptionError,
    WaitTimeoutError,
    WrongConnectionError,
)
from pgqueue.model import members
from pgqueue.model.new_job import NewJob
from pgqueue.worker.worker import Worker
from tests.apps import batch_tasks as tasks
from tests.batches import counts, follow_ups, overview, violations
from tests.factories import look
from tests.proxy import proxy_to
from tests.stages.test_joining import WAYS

row, follow = tasks.row, tasks.follow
FOLLOWING = {
    "on_success": follow.job("success"),
    "on_failure": follow.job("failure"),
    "on_end": follow.job("end"),
}


@pytest.fixture(autouse=True)
def _consistent(db: Connection[Any]) -> Iterator[None]:
    """After each test, the rows of batches and jobs agree."""
    yield
    assert violations(db) == {}


@pytest.fixture
def app(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app of tests/apps/batch_tasks.py, on the test's database."""
    monkeypatch.setattr(tasks.app, "_dsn", dsn)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    yield tasks.app
    tasks.app.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes slices small, so that few jobs need several transactions."""
    monkeypatch.setattr(members, "JOBS_AT_ONCE", 30)


def rows(count: int) -> Iterator[NewJob]:
    return (row.job(n) for n in range(count))


def drain(app: App, **settings: Any) -> None:
    """Runs a worker until no job is left. A job that is stored while the worker ends is left to another run."""
    for _ in range(3):
        Worker(
            app,
            WorkerSettings(queues={"default": None}, drain=True, poll=0.05, **settings),
            app_path=tasks.PATH,
        ).run()


def arguments(db: Connection[Any]) -> list[int]:
    found = db.execute(
        "select (args ->> 'n')::int from pgqueue.jobs where task = 'row' order by id"
    ).fetchall()
    return [number for (number,) in found]


# ------------------------------------------------------------------ a block


def test_a_block_stores_a_batch_and_seals_it_at_its_end(app: App, db: Connection[Any], small: None) -> None:
    with app.batch("import", meta={"é": 1}, **FOLLOWING) as b:
        assert b.handle.state() == "open"
        assert b.add(rows(70)) == 70
        assert b.add([row.job(70)]) == 1
    assert b.handle.created
    assert (b.handle.state(), counts(db, b.handle.id)) == ("running", (71, 71, 0, 0))
    assert arguments(db) == list(range(71))
    assert db.execute("select name, meta from pgqueue.workflows").fetchone() == ("import", {"é": 1})
    drain(app)
    found = b.handle.progress()
    assert (found.state, found.jobs, found.completed, found.failed, found.is_over) == (
        "completed",
        71,
        71,
        0,
        True,
    )
    results = db.execute(
        "select args ->> 'word', result from pgqueue.jobs_done where task = 'follow' order by id"
    )
    assert results.fetchall() == [("success", "success completed"), ("end", "end completed")]


def test_an_async_block_stores_a_batch_from_any_iterable(app: App, db: Connection[Any], small: None) -> None:
    async def stream() -> AsyncIterator[NewJob]:
        for n in range(40, 75):
            yield row.job(n)

    async def fill() -> BatchHandle:
        async with app.abatch("import", at_once=3) as b:
            assert await b.add(rows(40)) == 40
            assert await b.add(stream()) == 35
        assert await b.handle.astate() == "running"
        assert (await b.handle.aprogress()).jobs == 75
        await app.aclose()
        return b.handle

    handle = asyncio.run(fill())
    assert arguments(db) == list(range(75))
    keys = db.execute("select distinct concurrency_key from pgqueue.jobs_live").fetchall()
    assert keys == [(f"pgqueue.batch.{handle.id}",)]


def test_a_generator_is_read_slice_by_slice_and_each_slice_is_committed_before_the_next(
    app: App, db: Connection[Any], small: None
) -> None:
    seen: list[int] = []

    def stream() -> Iterator[NewJob]:
        for n in range(100):
            if n % 30 == 0:
                [(stored,)] = db.execute("select count(*) from pgqueue.jobs_live")
                seen.append(stored)
            yield row.job(n)

    with app.batch("import") as b:
        b.add(stream())
    assert seen == [0, 30, 60, 90]


def test_long_arguments_end_a_slice_early(app: App, db: Connection[Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(members, "TEXT_AT_ONCE", 50)
    with app.batch("import") as b:
        assert b.add(rows(40)) == 40
    parts = db.execute("select members from pgqueue.nodes where members is not null order by id").fetchall()
    assert len(parts) > 3
    assert sum(size for (size,) in parts) == 40


def test_a_block_that_raises_cancels_its_batch(app: App, db: Connection[Any], small: None) -> None:
    def stream() -> Iterator[NewJob]:
        yield from rows(35)
        raise ValueError("the file ends in the middle of a line")

    with pytest.raises(ValueError, match="in the middle"), app.batch("import", **FOLLOWING) as b:
        b.add(stream())
    assert (b.handle.state(), counts(db, b.handle.id)) == ("cancelled", (30, 0, 0, 30))

    async def fill() -> BatchHandle:
        try:
            with pytest.raises(ValueError, match="in the middle"):
                async with app.abatch("import") as c:
                    await c.add(stream())
            return c.handle
        finally:
            await app.aclose()

    assert overview(db, asyncio.run(fill()).id) == "cancelled"
    assert follow_ups(db, b.handle.id) == []


def test_an_error_says_that_the_batch_is_still_open_if_it_could_not_be_cancelled(
    app: App, db: Connection[Any], monkeypatch: Any
) -> None:
    def gone(number: int) -> None:
        raise psycopg.OperationalError("gone")

    b = app.batch("import")

    def fail() -> None:
        monkeypatch.setattr(statements, "abandon_batch", gone)
        raise KeyError("no")

    with pytest.raises(KeyError) as raised, b:
        fail()
    assert f"pgq batches cancel {b.handle.id}" in raised.value.__notes__[0]
    assert b.handle.state() == "open"


def test_a_batch_whose_key_is_taken_is_left_as_it_is(app: App, db: Connection[Any]) -> None:
    with app.batch("import", key="k") as first:
        first.add(rows(2))
    with app.batch("import", key="k") as second:
        assert second.add(rows(50)) == 0
    assert (second.handle.id, second.handle.created) == (first.handle.id, False)
    with pytest.raises(KeyError), app.batch("import", key="k"):
        raise KeyError
    assert (first.handle.state(), counts(db, first.handle.id)) == ("running", (2, 2, 0, 0))


def test_an_open_batch_is_filled_without_a_block_and_by_its_key(app: App, db: Connection[Any]) -> None:
    b = app.batch("crawl", key="k", open=True)
    with pytest.raises(RuntimeError, match="not stored yet"):
        b.handle  # noqa: B018
    b.add(rows(1))
    with app.batch("crawl", key="k", open=True) as other:
        other.add(rows(25))
    with pytest.raises(KeyError), app.batch("crawl", key="k", open=True) as third:
        raise KeyError
    assert (b.handle.id, b.handle.created) == (other.handle.id, True) == (third.handle.id, True)
    assert (b.handle.state(), counts(db, b.handle.id)) == ("open", (26, 26, 0, 0))
    b.seal()
    assert b.handle.state() == "running"
    with pytest.raises(BatchClosedError, match=r"PGQ-440.*is sealed, so only its own"):
        other.add(rows(1))
    with pytest.raises(BatchClosedError, match="sealed already"):
        other.seal()


def test_a_block_in_which_the_batch_was_sealed_ends_without_another_seal(
    app: App, db: Connection[Any]
) -> None:
    with app.batch("import") as b:
        b.add(rows(1))
        b.seal()
    with app.batch("import") as c:
        c.seal()
        with pytest.raises(BatchClosedError):
            c.seal()
    assert (b.handle.state(), c.handle.state()) == ("running", "completed")


# ------------------------------------------------------------------ transactions of the caller


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_batch_is_stored_in_the_callers_transaction_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], way: str, end: str, small: None
) -> None:
    async def scenario() -> BatchHandle:
        async with WAYS[way](dsn) as connection:
            if inspect.iscoroutinefunction(connection.commit):
                async with app.abatch("import", using=connection, **FOLLOWING) as b:
                    assert await b.add(rows(65)) == 65
                assert db.execute("select count(*) from pgqueue.workflows").fetchone() == (0,)
                await getattr(connection, end)()
            else:
                with app.batch("import", using=connection, **FOLLOWING) as b:
                    assert b.add(rows(65)) == 65
                assert db.execute("select count(*) from pgqueue.workflows").fetchone() == (0,)
                getattr(connection, end)()
            await app.aclose()
            return b.handle

    handle = asyncio.run(scenario())
    if end == "commit":
        assert counts(db, handle.id) == (65, 65, 0, 0)
        assert arguments(db) == list(range(65))
    else:
        assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (0,)


def test_a_block_that_raises_in_a_transaction_that_is_committed_leaves_a_cancelled_batch(
    app: App, db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    def stream() -> Iterator[Any]:
        yield from rows(25)
        yield 7

    with connect(autocommit=False) as conn:
        with pytest.raises(InvalidArgumentsError), app.batch("import", using=conn) as b:
            b.add(stream())
        conn.commit()
    assert overview(db, b.handle.id) == "cancelled"


def test_jobs_on_an_autocommit_connection_come_with_their_nodes(app: App, db: Connection[Any]) -> None:
    with pytest.warns(match="PGQ-502"), app.batch("import", using=db) as b:
        b.add(rows(50))
    assert counts(db, b.handle.id) == (50, 50, 0, 0)


def test_the_wrong_kind_of_connection_is_refused(app: App, connect: Callable[..., Connection[Any]]) -> None:
    with pytest.raises(WrongConnectionError, match=r"app.abatch\(\) needs an async connection"):
        app.abatch("b", using=connect())
    with pytest.raises(WrongConnectionError, match="None is given"):
        app.batch("b", using=None)


def test_a_slice_whose_commit_got_no_answer_is_looked_for(dsn: str, db: Connection[Any]) -> None:
    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn)

        @app.task(name="row")
        def row(n: int) -> None: ...

        b = app.batch("import", open=True)
        b.add([row.job(1)])
        proxy.cut_at = b"COMMIT"
        assert b.add([row.job(n) for n in range(30)]) == 30
        assert counts(db, b.handle.id)[0] == 31
        proxy.cut_at, proxy.delivers = b"COMMIT", False
        with pytest.raises(psycopg.OperationalError):  # it is known that nothing was stored
            b.add([row.job(n) for n in range(30)])
        assert counts(db, b.handle.id)[0] == 31
        b.handle.progress()
        proxy.cut_at, proxy.delivers = b"COMMIT", True
        with pytest.raises(
            CommitUnconfirmedError
        ):  # few jobs are one statement, whose answer alone tells the ids
            b.add([row.job(1)])
        app.close()


# ------------------------------------------------------------------ what is refused


def test_what_cannot_be_a_member_is_refused_and_named(app: App, db: Connection[Any]) -> None:
    b = app.batch("import", open=True, at_once=2)
    with pytest.raises(InvalidArgumentsError, match="Item 2 is a dict, not a job"):
        b.add([row.job(1), {"n": 1}])  # type: ignore[list-item]
    with pytest.raises(InvalidArgumentsError, match="A int is given instead of jobs"):
        b.add(7)  # type: ignore[arg-type]
    for options in (
        {"unique_key": "k"},
        {"unique": True},
        {"idempotency_key": "i"},
        {"throttle": 5, "unique": True},
    ):
        with pytest.raises(InvalidOptionError, match=f"has the option {next(iter(options))}|unique"):
            b.add([row.using(**options).job(1)])
    for count in (1, 30):
        with pytest.raises(InvalidOptionError, match="concurrency_key"):
            b.add(row.using(concurrency_key="c").job(n) for n in range(count))
    with pytest.raises(InvalidArgumentsError, match="a job that follows"):
        app.batch("import", on_end="tell")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="has the option unique_key"):
        app.batch("import", on_end=row.using(unique_key="k").job(1))
    for name in ("", "x" * 256, 7):
        with pytest.raises(InvalidOptionError):
            app.batch(name)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="at_once is 0"):
        app.batch("import", at_once=0, open=True).seal()
    assert counts(db, b.handle.id) == (0, 0, 0, 0)


def test_rules_about_duplicates_that_a_task_declares_do_not_concern_members(
    dsn: str, db: Connection[Any]
) -> None:
    app = App(dsn)

    @app.task(name="once", unique=True, queue="mail")
    def once(n: int) -> None: ...

    with app.batch("import", on_end=once.job(1)) as b:
        b.add(once.job(1) for _ in range(25))
        b.add([once.using(expires=60).job(1)])
    assert counts(db, b.handle.id) == (26, 26, 0, 0)
    assert db.execute("select distinct queue::text, unique_key from pgqueue.jobs_live").fetchall() == [
        ("mail", None)
    ]
    assert db.execute("select count(*) from pgqueue.jobs_live where expires_at is not null").fetchone() == (
        1,
    )
    app.close()


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


def test_only_the_jobs_of_one_slice_are_in_memory_while_a_generator_is_read(
    app: App, db: Connection[Any], small: None
) -> None:
    class Text(str):  # noqa: SLOT000 - a weak reference needs room
        """A text that a weak reference can watch."""

    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most: list[int] = []

    def stream() -> Iterator[NewJob]:
        for n in range(200):
            text = Text(f'{{"n": {n}}}')
            alive.add(text)
            most.append(len(alive))
            yield NewJob("row", text)

    with app.batch("import") as b:
        b.add(stream())
    assert max(most) <= 62  # a slice of 30 is stored while the next one has not begun
    assert counts(db, b.handle.id)[0] == 200
