"""Batches that are made in Python in the caller's transaction, or in transactions whose commit gets no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, BatchHandle
from pgqueue.errors import CommitUnconfirmedError, InvalidArgumentsError, WrongConnectionError
from tests.batches import counts, overview
from tests.proxy import proxy_to
from tests.stages.built_batches import FOLLOWING, arguments, rows
from tests.stages.test_joining import WAYS, begun

pytestmark = pytest.mark.usefixtures("consistent_batches")


@pytest.fixture
def app(batch_app: App) -> App:
    return batch_app


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_batch_is_stored_in_the_callers_transaction_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], way: str, end: str, small_slices: None
) -> None:
    async def scenario() -> BatchHandle:
        async with WAYS[way](dsn) as connection:
            joined = await begun(connection)
            if joined.asynchronous:
                async with app.abatch("import", using=connection, **FOLLOWING) as b:
                    assert await b.add(rows(65)) == 65
                assert db.execute("select count(*) from pgqueue.workflows").fetchone() == (0,)
                await getattr(joined.ends, end)()
            else:
                with app.batch("import", using=connection, **FOLLOWING) as b:
                    assert b.add(rows(65)) == 65
                assert db.execute("select count(*) from pgqueue.workflows").fetchone() == (0,)
                getattr(joined.ends, end)()
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
