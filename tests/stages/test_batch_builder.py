"""Batches that are made in Python: what a block stores, slice by slice, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, BatchHandle
from pgqueue.database import statements
from pgqueue.errors import BatchClosedError, InvalidArgumentsError, InvalidOptionError
from pgqueue.model import members
from pgqueue.model.new_job import NewJob
from tests.batches import counts, follow_ups, overview
from tests.stages.built_batches import FOLLOWING, arguments, drain, row, rows

pytestmark = pytest.mark.usefixtures("consistent_batches")


@pytest.fixture
def app(batch_app: App) -> App:
    return batch_app


# ------------------------------------------------------------------ a block


def test_a_block_stores_a_batch_and_seals_it_at_its_end(
    app: App, db: Connection[Any], small_slices: None
) -> None:
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


def test_an_async_block_stores_a_batch_from_any_iterable(
    app: App, db: Connection[Any], small_slices: None
) -> None:
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
    app: App, db: Connection[Any], small_slices: None
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


def test_a_block_that_raises_cancels_its_batch(app: App, db: Connection[Any], small_slices: None) -> None:
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


# ------------------------------------------------------------------ what is refused


def test_what_cannot_be_a_member_is_refused_and_named(app: App, db: Connection[Any]) -> None:
    b = app.batch("import", open=True, at_once=2)
    with pytest.raises(InvalidArgumentsError, match="Item 2 is a dict, not a job"):
        b.add([row.job(1), {"n": 1}])  # type: ignore[list-item]
    with pytest.raises(InvalidArgumentsError, match="was given an int instead of jobs"):
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
    with pytest.raises(InvalidArgumentsError, match="The job that follows the batch is a str"):
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


# ------------------------------------------------------------------ with a real worker


def test_only_the_jobs_of_one_slice_are_in_memory_while_a_generator_is_read(
    app: App, db: Connection[Any], small_slices: None
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
