"""Workflows that are built in Python are stored in one transaction, which can be the caller's, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, WorkflowHandle, chain, group, sql
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    AutocommitWarning,
    CommitUnconfirmedError,
    InvalidWorkflowError,
    MissingPrivilegeError,
    WrongConnectionError,
)
from tests.proxy import proxy_to
from tests.stages.built_workflows import NAMES, add, collect, number
from tests.stages.test_joining import WAYS, begun
from tests.worker_by_hand import Hand
from tests.workflows import overview, run_due, states

pytestmark = pytest.mark.usefixtures("consistent_workflows")


@pytest.fixture
def app(workflow_app: App) -> App:
    return workflow_app


# ------------------------------------------------------------------ the transaction


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_workflow_is_stored_in_the_callers_transaction_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], way: str, end: str
) -> None:
    async def scenario() -> WorkflowHandle:
        async with WAYS[way](dsn) as connection:
            joined = await begun(connection)
            if joined.asynchronous:
                async with app.aworkflow("flow", key="k", using=connection, meta={"é": 1}) as w:
                    w.add(add.job(1, w.add(number.job(2), name="é").result))
                other = await app.aenqueue_workflow(chain(number.job(1), number.job(2)), using=connection)
                await getattr(joined.ends, end)()
            else:
                with app.workflow("flow", key="k", using=connection, meta={"é": 1}) as w:
                    w.add(add.job(1, w.add(number.job(2), name="é").result))
                other = app.enqueue_workflow(chain(number.job(1), number.job(2)), using=connection)
                getattr(joined.ends, end)()
            assert (w.handle.created, other.created) == (True, True)
            await app.aclose()
            return w.handle

    handle = asyncio.run(scenario())
    stored = db.execute("select id, meta from pgqueue.workflows where name = 'flow'").fetchall()
    assert stored == ([(handle.id, {"é": 1})] if end == "commit" else [])
    if end == "commit":
        assert states(db, handle.id) == {"é": "pending", "add": "waiting"}
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (4 if end == "commit" else 0,)


def test_a_block_that_raises_stores_nothing(app: App, db: Connection[Any]) -> None:
    with pytest.raises(ZeroDivisionError), app.workflow("flow") as w:
        w.add(number.job(1 // 0))
    with pytest.raises(RuntimeError, match="not stored yet"):
        w.handle  # noqa: B018
    with pytest.raises(InvalidWorkflowError, match="block has ended"):
        w.add(number.job(1))

    async def fail() -> None:
        async with app.aworkflow("flow") as w:
            w.add(number.job(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(fail())
    for table in ("workflows", "nodes", "dependencies", "jobs"):
        assert db.execute(f"select count(*) from pgqueue.{table}".encode()).fetchone() == (0,)


def test_a_workflow_is_refused_on_a_connection_of_the_other_kind_before_its_block(
    app: App, db: Connection[Any]
) -> None:
    with pytest.raises(WrongConnectionError, match=r"write: with app.workflow"):
        app.aworkflow("flow", using=db)
    with pytest.raises(WrongConnectionError, match="None is given"):
        app.workflow("flow", using=None)
    with pytest.raises(WrongConnectionError, match="no connection that pgqueue can join"):
        app.workflow("flow", using=7)


def test_a_key_that_is_taken_gives_the_workflow_that_has_it(app: App, db: Connection[Any]) -> None:
    first = app.enqueue_workflow(chain(number.job(1)), name="flow", key="k")
    again = app.enqueue_workflow(chain(number.job(1), number.job(2)), name="flow", key="k")
    other = app.enqueue_workflow(chain(number.job(1)), name="other", key="k")
    assert (first.created, again.created, other.created) == (True, False, True)
    assert (again.id, again.job("number").id) == (first.id, first.job("number").id)
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (2,)


@pytest.mark.parametrize("twin", ["sync", "async"])
def test_a_workflow_whose_commit_got_no_answer_is_looked_for(
    dsn: str, db: Connection[Any], twin: str
) -> None:
    with proxy_to(dsn) as proxy:
        app = App(proxy.dsn)

        @app.task(name="number")
        def one(n: int) -> None: ...

        async def enqueue() -> WorkflowHandle:
            try:
                await app.aenqueue_workflow(group(), name="warm")
                proxy.cut_at = b"COMMIT"
                return await app.aenqueue_workflow(chain(one.job(1), one.job(2)))
            finally:
                await app.aclose()

        if twin == "async":
            handle = asyncio.run(enqueue())
        else:
            app.enqueue_workflow(group(), name="warm")  # now the app's pool has a connection
            proxy.cut_at = b"COMMIT"
            handle = app.enqueue_workflow(chain(one.job(1), one.job(2)))
        assert states(db, handle.id) == {"number": "pending", "number-2": "waiting"}

        app.enqueue_workflow(group(), name="warm")
        proxy.cut_at, proxy.delivers = b"COMMIT", False
        with pytest.raises(psycopg.OperationalError) as caught:  # it is known that nothing was stored
            app.enqueue_workflow(chain(one.job(1), one.job(2)), name="lost")
        assert not isinstance(caught.value, CommitUnconfirmedError)
        assert db.execute("select count(*) from pgqueue.workflows where name = 'lost'").fetchone() == (0,)
        app.close()


def test_an_enqueuer_may_store_a_workflow(
    app: App, role: Callable[..., str], monkeypatch: pytest.MonkeyPatch, db: Connection[Any]
) -> None:
    app.close()
    monkeypatch.setattr(app, "_dsn", role(sql.grants("enqueuer")))
    handle = app.enqueue_workflow(chain(number.job(1), group(number.job(n) for n in range(300))))
    assert overview(db, handle.id, "nodes") == 301


def test_an_enqueuer_with_the_additional_grants_waits_for_its_workflow(
    app: App, role: Callable[..., str], monkeypatch: pytest.MonkeyPatch, db: Connection[Any]
) -> None:
    text = (Path(sql.__file__).parent / "grants/enqueuer.sql").read_text(encoding="utf-8")
    app.close()
    monkeypatch.setattr(app, "_dsn", role(sql.grants("enqueuer")))
    handle = app.enqueue_workflow(chain(number.job(1)))
    with pytest.raises(MissingPrivilegeError, match="is not allowed to read jobs or workflows"):
        handle.progress()
    app.close()
    added = text.split("If the application also waits for jobs")[1].replace("\n-- grant", "\ngrant")
    monkeypatch.setattr(app, "_dsn", role(sql.grants("enqueuer"), "--" + added))
    assert handle.progress().counts == {"pending": 1}
    run_due(db, Hand(db, NAMES))
    assert handle.join(5).state == "completed"


def test_a_workflow_on_a_connection_that_commits_by_itself_is_stored_with_a_warning(
    app: App, db: Connection[Any]
) -> None:
    with pytest.warns(AutocommitWarning, match="PGQ-502"):
        handle = app.enqueue_workflow(chain(number.job(1), number.job(2)), using=db)
    assert handle.state() == "running"


# ------------------------------------------------------------------ the handle


def test_a_workflow_of_ten_thousand_jobs_is_stored_by_one_statement(app: App, db: Connection[Any]) -> None:
    handle = app.enqueue_workflow(
        chain(number.job(0), group(number.job(n) for n in range(10_000)), collect.job())
    )
    progress = handle.progress()
    assert (progress.nodes, progress.counts) == (10_002, {"pending": 1, "waiting": 10_001})
    [(edges, most)] = db.execute(
        "select sum(c), max(c) from (select count(*) as c from pgqueue.dependencies group by node_id) d"
    )
    assert (edges, most) == (10_000 + 10_000 + 100 + 1, 100)
    assert run(db, statements.cancel_workflow(handle.id)) == "cancelled"
