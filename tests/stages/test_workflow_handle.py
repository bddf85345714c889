"""The handle of a workflow: its progress, its jobs, their results, a cancel, a retry and a wait."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, JobHandle, chain, group
from pgqueue.errors import (
    InvalidOptionError,
    NodeNotFoundError,
    WaitTimeoutError,
    WorkflowNotFoundError,
    WorkflowUnchangedError,
)
from tests.apps import workflow_tasks as tasks
from tests.stages.built_workflows import NAMES, drain, number
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, run_due

pytestmark = pytest.mark.usefixtures("consistent_workflows")


@pytest.fixture
def app(workflow_app: App) -> App:
    return workflow_app


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
    monkeypatch.setattr("pgqueue.app.workflow_handle.RESULTS_AT_ONCE", 2)
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
    with pytest.raises(WorkflowUnchangedError, match="node bad has completed"):
        w.handle.retry(bad)
    for again in each_twin(
        lambda: w.handle.retry(bad, again=True), lambda: w.handle.aretry("apart", again=True)
    ):
        assert again == 1
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
