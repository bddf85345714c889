"""Workflows that are built in Python: what is stored, in which transaction, and what their handlers and handles see."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, JobHandle, WorkflowHandle, chain, group, sql
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    AutocommitWarning,
    CommitUnconfirmedError,
    InvalidOptionError,
    InvalidWorkflowError,
    MissingPrivilegeError,
    NodeNotFoundError,
    WaitTimeoutError,
    WorkflowNotFoundError,
    WorkflowUnchangedError,
    WrongConnectionError,
)
from pgqueue.worker.worker import Worker
from tests.apps import workflow_tasks as tasks
from tests.factories import look
from tests.proxy import proxy_to
from tests.stages.test_joining import WAYS
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, overview, run_due, states, violations

number, add, sum_up, collect, acollect = (
    tasks.number,
    tasks.add,
    tasks.sum_up,
    tasks.collect,
    tasks.acollect,
)
NAMES = ["number", "add", "sum_up", "collect", "acollect"]


@pytest.fixture(autouse=True)
def _consistent(db: Connection[Any]) -> Iterator[None]:
    """After each test, the rows of workflows and jobs agree."""
    yield
    assert violations(db) == {}


@pytest.fixture
def app(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """Yields the app of tests/apps/workflow_tasks.py, on the test's database."""
    monkeypatch.setattr(tasks.app, "_dsn", dsn)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    yield tasks.app
    tasks.app.close()


def drain(app: App, executor: Any = "thread") -> None:
    """Runs a worker until no job is left. A node that is released while the worker ends is left to another run."""
    for _ in range(6):
        settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.05, executor=executor)
        Worker(app, settings, app_path=tasks.PATH).run()
        with app.connection() as connection:
            if not connection.execute("select count(*) from pgqueue.jobs_live").fetchall()[0][0]:
                return


def result(db: Connection[Any], handle: WorkflowHandle, name: str) -> Any:
    return look(db, handle.job(name).id, "result")


# ------------------------------------------------------------------ the transaction


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_workflow_is_stored_in_the_callers_transaction_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], way: str, end: str
) -> None:
    async def scenario() -> WorkflowHandle:
        async with WAYS[way](dsn) as connection:
            if inspect.iscoroutinefunction(connection.commit):
                async with app.aworkflow("flow", key="k", using=connection, meta={"é": 1}) as w:
                    w.add(add.job(1, w.add(number.job(2), name="é").result))
                other = await app.aenqueue_workflow(chain(number.job(1), number.job(2)), using=connection)
                await getattr(connection, end)()
            else:
                with app.workflow("flow", key="k", using=connection, meta={"é": 1}) as w:
                    w.add(add.job(1, w.add(number.job(2), name="é").result))
                other = app.enqueue_workflow(chain(number.job(1), number.job(2)), using=connection)
                getattr(connection, end)()
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


# ------------------------------------------------------------------ what runs


def test_results_pass_from_node_to_node_by_reference(app: App, db: Connection[Any]) -> None:
    with app.workflow("flow") as w:
        one, two = w.add(number.job(1)), w.add(number.job(2))
        three = w.add(add.job(one.result, right=two.result), name="three")
        w.add(add.job(three.result, 10), name="thirteen")
        w.add(sum_up.job(w.add(group(number.job(n) for n in range(3)), name="all").result), name="list")
        w.add(sum_up.job(parts=w.add(group(), name="none").result), name="empty")
        w.add(sum_up.job(w.add(group(number.job(n) for n in range(203)), name="many").result), name="long")
    drain(app)
    assert result(db, w.handle, "three") == 3
    assert result(db, w.handle, "thirteen") == 13
    assert result(db, w.handle, "list") == [0, 1, 2]
    assert result(db, w.handle, "empty") == []
    assert result(db, w.handle, "long") == list(
        range(203)
    )  # in order, although the group is divided into parts
    assert w.handle.state() == "completed"


@pytest.mark.parametrize("executor", ["thread", "process", "async"])
def test_a_handler_sees_the_ends_for_which_its_node_has_waited_in_order_and_page_by_page(
    app: App, db: Connection[Any], executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.worker.awaited.PAGE", 7)
    task = acollect if executor == "async" else collect
    with app.workflow("flow", on_failure="continue") as w:
        first = w.add(number.job(1), name="first")
        many = w.add(
            group(number.using(max_attempts=1).job(n, fails=n == 5) for n in range(250)), name="many"
        )
        inner = w.add(group(number.job(1), group(number.job(2), number.job(3))), name="inner")
        w.add(task.job(), name="end", after=[inner, many, first, first])
        w.add(task.job(), name="start")
        w.add(task.job(), name="between", after=w.add(group(), name="none", after=first))
    drain(app, executor)
    found = result(db, w.handle, "end")
    names = ["first", "many.number", *(f"many.number-{n}" for n in range(2, 251)),
             "inner.number", "inner.number-2", "inner.number-3"]  # fmt: skip
    assert [end[0] for end in found] == names
    assert found[0] == ["first", "completed", 1, None]
    assert found[6] == ["many.number-6", "dead", None, "ValueError: number 5"]
    assert [end[2] for end in found[1:251]] == [None if n == 5 else n for n in range(250)]
    assert (result(db, w.handle, "start"), result(db, w.handle, "between")) == ([], [])


def test_a_job_of_no_workflow_has_waited_for_nothing(app: App, db: Connection[Any]) -> None:
    handles = [collect.enqueue(), acollect.enqueue()]
    drain(app)
    assert [handle.result(1) for handle in handles] == [[], []]


def test_an_empty_group_in_a_chain_keeps_the_order_and_passes_a_failure_on(
    app: App, db: Connection[Any]
) -> None:
    handle = app.enqueue_workflow(chain(number.job(1), group(), collect.job()))
    assert states(db, handle.id) == {"number": "pending", "group": "waiting", "collect": "waiting"}
    failing = app.enqueue_workflow(
        chain(number.using(max_attempts=1).job(1, fails=True), group(), group(), collect.job())
    )
    drain(app)
    assert result(db, handle, "collect") == []
    assert states(db, failing.id) == {
        "number": "dead", "group": "dead", "group-2": "dead", "collect": "cancelled",
    }  # fmt: skip


def test_a_failure_deep_inside_a_group_is_seen_by_what_waits_for_it(app: App, db: Connection[Any]) -> None:
    bad = number.using(max_attempts=1).job(7, fails=True)
    with app.workflow("flow") as w:
        deep = w.add(group(number.job(1), group(group(bad, number.job(2)))), name="deep")
        w.add(number.job(3), name="needs", after=deep)
        w.add(collect.job(), name="told", after=deep, when="failed")
    drain(app)
    assert states(db, w.handle.id)["needs"] == "cancelled"
    assert ["deep.number-2", "dead", None, "ValueError: number 7"] in result(db, w.handle, "told")
    assert w.handle.state() == "failed"


def test_policies_decide_what_a_failure_does(app: App, db: Connection[Any]) -> None:
    bad = number.using(max_attempts=1).job(7, fails=True)
    for on_failure, state in (("cancel", "cancelled"), ("continue", "completed")):
        with app.workflow("flow", on_failure=on_failure) as w:  # type: ignore[arg-type]
            first = w.add(bad, name="bad")
            w.add(number.job(1), name="after", after=first)
            w.add(number.job(1), name="always", after="bad", when="ended")
            w.add(number.job(1), name="rescue", after=first, when="failed")
        drain(app)
        assert states(db, w.handle.id) == {
            "bad": "dead", "after": state, "always": "completed", "rescue": "completed",
        }, on_failure  # fmt: skip


def test_a_workflow_that_fails_undoes_what_completed_and_the_last_first(
    app: App, db: Connection[Any]
) -> None:
    with app.workflow("flow") as w:
        first = w.add(number.job(1), name="first", undo=number.job(10))
        second = w.add(number.job(2), name="second", after=first)
        w.undo(second, add.job(second.result, right=first.result))
        w.add(number.using(max_attempts=1).job(3, fails=True), after=second, undo=number.job(30))
    drain(app)
    query = "select name, undoes, state, result from pgqueue.workflow_nodes where undoes is not null order by rank"
    assert db.execute(query).fetchall() == [
        ("undo of second", "second", "completed", 3), ("undo of first", "first", "completed", 10),
    ]  # fmt: skip
    assert w.handle.join(5).state == "undone"


def test_nested_workflows_are_part_of_the_workflow_with_names_of_their_own(
    app: App, db: Connection[Any]
) -> None:
    with app.workflow("flow") as w:
        first = w.add(number.job(1))
        with w.nested("ship", after=first) as ship:
            packed = ship.add(number.job(2), name="pack")
            ship.add(number.job(3), name="send", after="pack")
            with ship.nested("tell", after=packed) as tell:
                tell.add(number.job(4))
            with pytest.raises(InvalidWorkflowError, match="whose block has not ended"):
                w.add(number.job(5), after=ship)
        w.add(collect.job(), after=[ship])
        with w.nested("nothing", after=first) as nothing:
            pass
        w.add(number.job(6), name="last", after=nothing)
    rows = db.execute("select name, after from pgqueue.workflow_nodes order by rank").fetchall()
    assert dict(rows) == {
        "number": [], "ship.pack": ["number"], "ship.send": ["ship.pack"], "ship.tell.number": ["ship.pack"],
        "ship.tell": ["ship.tell.number"], "ship": ["ship.send", "ship.tell"], "collect": ["ship"],
        "nothing": ["number"], "last": ["nothing"],
    }  # fmt: skip
    drain(app)
    assert [end[0] for end in result(db, w.handle, "collect")] == ["ship.send", "ship.tell.number"]


# ------------------------------------------------------------------ the handle


def each_twin(call: Callable[..., Any], acall: Callable[..., Any], *args: Any) -> list[Any]:
    """Returns what the sync method and its async twin return."""

    async def twin() -> Any:
        try:
            return await acall(*args)
        finally:
            await tasks.app.store.pools.leave_loop()

    return [call(*args), asyncio.run(twin())]


def test_the_progress_counts_the_jobs_by_state(app: App, db: Connection[Any]) -> None:
    handle = app.enqueue_workflow(
        chain(number.job(1), group(number.job(n) for n in range(5))), name="flow", key="k", on_failure="stop"
    )
    for progress in each_twin(handle.progress, handle.aprogress):
        assert (progress.name, progress.key, progress.on_failure, progress.nodes) == ("flow", "k", "stop", 6)
        assert (progress.state, progress.is_over, progress.ended_at) == ("running", False, None)
        assert progress.counts == {"pending": 1, "waiting": 5}
    hand = Hand(db, NAMES)
    hand.claim(1)
    assert handle.progress().counts == {"running": 1, "waiting": 5}
    assert each_twin(handle.state, handle.astate) == ["running", "running"]


def test_the_handle_of_a_node_is_that_of_its_job(app: App) -> None:
    with app.workflow("flow") as w:
        first = w.add(number.job(1), name="first")
        w.add(group(), name="none")
    elsewhere = app.workflow_handle(w.handle.id)
    for handle in (w.handle, elsewhere, pickle.loads(pickle.dumps(w.handle))):
        for found in [
            *each_twin(handle.job, handle.ajob, "first"),
            *each_twin(handle.job, handle.ajob, first),
        ]:
            assert isinstance(found, JobHandle)
            assert found.job().args == {"n": 1}
        with pytest.raises(InvalidOptionError, match="Node 'none' is a group"):
            handle.job("none")
        with pytest.raises(NodeNotFoundError, match="has no node 'x'"):
            handle.job("x")
    for wrong in (True, "7", 2**63):
        with pytest.raises(InvalidOptionError, match="is no id of a workflow"):
            app.workflow_handle(wrong)  # type: ignore[arg-type]


def test_the_results_of_a_workflow_come_in_its_order_also_of_open_jobs(
    app: App, db: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.app.workflow_handle.PAGE", 2)
    handle = app.enqueue_workflow(
        chain(group(number.job(n) for n in range(5)), number.using(delay=3600).job(5))
    )
    drain_due(db)

    async def twin() -> list[Any]:
        found = [end async for end in handle.aresults()]
        await app.store.pools.leave_loop()
        return found

    for ends in (list(handle.results()), asyncio.run(twin())):
        names = ["number", *(f"number-{n}" for n in range(2, 7))]
        assert [(end.name, end.state) for end in ends] == [
            *((name, "completed") for name in names[:-1]), (names[-1], "pending"),
        ]  # fmt: skip


def drain_due(db: Connection[Any]) -> None:
    run_due(db, Hand(db, NAMES))


def test_a_workflow_is_cancelled_through_its_handle(app: App, db: Connection[Any]) -> None:
    handle = app.enqueue_workflow(chain(number.job(1), group(number.job(n) for n in range(3))))
    assert each_twin(handle.cancel, handle.acancel) == ["cancelled", "ended"]
    assert handle.progress().counts == {"cancelled": 4}
    assert handle.state() == "cancelled"
    with psycopg.connect(db.info.dsn) as connection:
        other = app.enqueue_workflow(chain(number.job(1)), using=connection)
        assert other.cancel(connection) == "cancelled"
        connection.rollback()
    with pytest.raises(WorkflowNotFoundError):
        other.cancel()


def test_a_retry_of_a_node_runs_all_that_follows_it(app: App, db: Connection[Any]) -> None:
    with app.workflow("flow") as w:
        bad = w.add(number.using(max_attempts=1).job(1, fails=True), name="bad")
        w.add(chain(number.job(2), group(number.job(3))), after=bad)
        w.add(number.job(4), name="apart")
    drain(app)
    assert w.handle.progress().counts == {"dead": 1, "cancelled": 2, "completed": 1}
    db.execute("update pgqueue.jobs_dead set args = '{\"n\": 1}'")
    with pytest.raises(WorkflowUnchangedError, match="waits for node bad, which is dead: retry bad"):
        w.handle.retry("number")
    with pytest.raises(NodeNotFoundError):
        w.handle.retry("x")
    assert w.handle.retry(bad) == 4  # the group is a node, too
    drain(app)
    assert w.handle.progress().counts == {"completed": 4}
    assert each_twin(w.handle.retry, w.handle.aretry) == [0, 0]
    with pytest.raises(WorkflowNotFoundError):
        app.workflow_handle(999).retry()


def test_a_wait_ends_soon_after_the_last_job_and_raises_nothing_for_a_failure(
    app: App, db: Connection[Any]
) -> None:
    handle = app.enqueue_workflow(
        chain(number.job(1), group(number.job(n) for n in range(30)), number.job(2))
    )
    with pytest.raises(WaitTimeoutError, match=f"Workflow {handle.id} has not ended after 0.1 s"):
        handle.join(0.1)
    assert handle.cancel() == "cancelled"
    assert [found.state for found in each_twin(handle.join, handle.ajoin, "5s")] == ["cancelled"] * 2
    second = app.enqueue_workflow(chain(number.job(1), number.using(max_attempts=1).job(2, fails=True)))
    hand = Hand(db, NAMES)
    worker = threading.Timer(0.5, run_due, args=[db, hand, {"number-2": DEAD}])
    worker.start()
    try:
        assert [found.state for found in each_twin(second.join, second.ajoin, 60)] == ["failed"] * 2
    finally:
        worker.join()
    with pytest.raises(WorkflowNotFoundError):
        app.workflow_handle(999).join()


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
