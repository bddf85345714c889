"""Workflows as a whole: they are stored, cancelled, retried and deleted, and a real worker runs them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import App, Job
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import run
from pgqueue.maintenance.workflows import Finisher, Nodes
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.worker import Worker
from tests.factories import enqueue, look, reasons, row
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish, group, ids, node, overview, run_due, states, store, store_row

pytestmark = pytest.mark.usefixtures("consistent_workflows")


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


# ------------------------------------------------------------------ cancel


def test_a_cancel_of_the_workflow_ends_what_does_not_run_and_asks_the_rest_to_stop(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b", "a", when="ended"), node("c"))
    attempt = hand.claim(1)[0]
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    assert states(db, flow) == {"a": "running", "b": "cancelled", "c": "cancelled"}
    assert look(db, attempt.id, "cancel_requested") is True
    assert hand.settle(attempt, Outcome.retried(0.0, ValueError("x")))
    assert (states(db, flow)["a"], overview(db, flow)) == ("cancelled", "cancelled")
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("ended",)
    assert finish(db) == 1
    assert finish(db) == 0


def test_a_cancel_of_an_unknown_workflow_returns_null(db: Connection[Any]) -> None:
    assert db.execute("select pgqueue.cancel_workflow(9)").fetchone() == (None,)


def test_a_cancelled_workflow_without_running_jobs_is_cancelled_at_once(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a", when="failed"), group("g", "a", "b"))
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("cancelled",)
    assert states(db, flow) == {"a": "cancelled", "b": "cancelled", "g": "dead"}
    assert reasons(db, ids(db, flow)["b"]) == [("waiting", "cancelled", "workflow_cancelled")]


# ------------------------------------------------------------------ retry


def retry(db: Connection[Any], flow: int, name: str | None = None) -> int:
    [(opened,)] = db.execute("select pgqueue.retry_workflow(%s, %s)", [flow, name])
    return int(opened)


def test_a_node_that_is_retried_runs_again_with_all_that_follows(db: Connection[Any], hand: Hand) -> None:
    flow = store(
        db, node("a"), node("b", "a"), node("c", "b"), node("tell", "b", when="failed"), group("g", "b", "c")
    )
    assert run_due(db, hand, {"b": DEAD}) == ["a", "b", "tell"]
    assert retry(db, flow, "b") == 3
    assert states(db, flow) == {
        "a": "completed",
        "b": "pending",
        "c": "waiting",
        "tell": "completed",
        "g": "waiting",
    }
    assert run_due(db, hand) == ["b", "c"]
    assert overview(db, flow, "state, completed") == ("completed", 4)


def test_a_revived_node_runs_again_with_all_that_follows(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    run_due(db, hand, {"a": DEAD})
    assert run(db, statements.revive(ids(db, flow)["a"])) == "revived"
    assert run_due(db, hand) == ["a", "b"]


def test_all_nodes_that_did_not_complete_can_be_retried(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b"), node("c", "a", "b"), node("tell", "b", when="failed"), node("x"))
    run_due(db, hand, {"a": DEAD, "x": DEAD})
    assert retry(db, flow) == 4
    assert states(db, flow) == {
        "a": "pending",
        "b": "completed",
        "c": "waiting",
        "tell": "cancelled",
        "x": "pending",
    }
    assert run_due(db, hand) == ["a", "x", "c"]
    assert overview(db, flow) == "completed"


def test_a_completed_node_that_runs_again_counts_once(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("x"), node("b", "a", "x"))
    first, second = hand.claim()
    hand.settle(first, COMPLETED)
    assert db.execute("select pgqueue.retry_workflow(%s, 'a', again => true)", [flow]).fetchone() == (1,)
    hand.settle(second, COMPLETED)
    assert states(db, flow)["b"] == "waiting"
    assert run_due(db, hand) == ["a", "b"]


def test_a_cancelled_workflow_goes_on_when_it_is_retried(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    db.execute("select pgqueue.cancel_workflow(%s)", [flow])
    assert retry(db, flow) == 2
    assert run_due(db, hand) == ["a", "b"]
    assert overview(db, flow) == "completed"


def refusal(db: Connection[Any], text: str, *values: object) -> str:
    with pytest.raises(psycopg.Error) as raised:
        db.execute(text.encode(), values)
    assert raised.value.sqlstate == "PQ404"
    return str(raised.value.diag.message_primary)


def test_a_retry_that_cannot_be_done_is_refused_with_a_sentence(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"), group("g", "b"), node("x", delay=3600), node("done"))
    run_due(db, hand, {"a": DEAD})
    call = "select pgqueue.retry_workflow(%s, %s)"
    assert refusal(db, call, flow, "b") == "pgqueue: node b waits for node a, which is dead: retry a"
    assert refusal(db, call, flow, "g") == "pgqueue: node g is a group: retry one of its nodes"
    assert refusal(db, call, flow, "x") == "pgqueue: node x has not ended"
    assert refusal(db, call, flow, "done") == (
        "pgqueue: node done has completed: to let its effects happen once more, give again => true, or --again to pgq"
    )
    assert refusal(db, "select pgqueue.retry_workflow(%s, %s, null)", flow, "done") == refusal(
        db, call, flow, "done"
    )
    assert refusal(db, call, flow, "no") == f"pgqueue: workflow {flow} has no node no"
    for node_name in (None, "a"):
        assert refusal(db, call, 99, node_name) == "pgqueue: there is no workflow 99"
        assert refusal(db, call, None, node_name) == "pgqueue: there is no workflow null"
    before = db.execute(
        "delete from pgqueue.jobs where id = %s returning id", [ids(db, flow)["a"]]
    ).fetchone()
    assert before
    assert "was deleted after its retention" in refusal(db, call, flow, "a")
    db.execute("delete from pgqueue.nodes where name = 'a'")
    db.execute("update pgqueue.nodes set failed = 0 where name = 'b'")


# ------------------------------------------------------------------ storing


def test_a_second_workflow_with_the_same_key_is_the_first_one(db: Connection[Any]) -> None:
    first = store_row(db, node("a"), node("b", "a"), key="k")
    assert first[1]
    assert store_row(db, node("other"), key="k") == (first[0], False, first[2])
    assert store_row(db, node("a"), key="k", name="another")[1]
    assert store_row(db, node("a"))[1]
    assert store_row(db, node("a"))[1]


def test_a_node_has_the_options_that_its_task_declares_but_no_unique_key(db: Connection[Any]) -> None:
    options = {"queue": "mail", "max_attempts": 2, "unique": True, "throttle": 60}
    run(db, statements.sync_tasks("shop", [{"name": "t", "options": options, "keep": "all"}], 60.0))
    flow = store(db, node("a"), node("b", "a", max_attempts=3))
    found = ids(db, flow)
    assert look(db, found["a"], "queue, max_attempts, unique_key") == ("mail", 2, None)
    assert look(db, found["b"], "queue, max_attempts, unique_key") == ("mail", 3, None)


def test_a_node_whose_task_is_declared_later_gets_its_options_then(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a"))
    run(db, statements.sync_tasks("shop", [{"name": "t", "options": {"queue": "mail"}, "keep": "all"}], 60.0))
    assert [look(db, job, "queue") for job in ids(db, flow).values()] == ["mail", "mail"]


WRONG = {
    "the nodes wait for each other: a → b → a": [node("a", "b"), node("b", "a")],
    "the nodes wait for each other: a → b → c → a": [node("a", "b"), node("b", "c"), node("c", "a")],
    "the nodes wait for each other: a → a": [node("a", "a")],
    "node a waits for b, which is listed after it: list b first": [node("a", "b"), node("b")],
    "node a waits for x, but no node has that name": [node("a", "x")],
    "node g waits for x, but no node has that name": [group("g", "x")],
    "node a waits for x, but no node has that name ": [node("a", results={"r": "x"})],
    "node a: two nodes have this name": [node("a"), node("a")],
    "node 2: two nodes have this name: a node without a name has its number as its name": [
        node("2"), {"task": "t"}, node("c", "2"),
    ],
    "node 1: two nodes have this name: a node without a name has its number as its name": [{"task": "t"}, group("1")],
    "node 1: give either a task or a group": [{}],
    'node a: unknown option {"unique_key": "k"}': [node("a", unique_key="k")],
    'node g: unknown option {"queue": "q"} for a group': [{**group("g"), "queue": "q"}],
    'node a: when is "never": give completed, ended or failed': [node("a", when="never")],
    "node a: after and group are lists of names of nodes": [{**node("a"), "after": "b"}],
    "node a: after and group are lists of names of nodes ": [{**node("a"), "after": [1]}],
    "node a: results has, for each name of an argument, the name of a node": [node("a", results={"r": 1})],
    "node a: its args are an object": [node("a", args=[1])],
    "node 1: its name is a text of 1 to 255 bytes": [node("")],
    "node 1: a node is an object": [7],
    "node a: when is failed, but it waits for no node": [node("a", when="failed")],
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_a_workflow_that_cannot_be_stored_is_refused_with_a_sentence(
    db: Connection[Any], sentence: str
) -> None:
    call = "select pgqueue.enqueue_workflow(%s)"
    said = refusal(db, call, Jsonb({"name": "w", "nodes": WRONG[sentence]}))
    assert said == f"pgqueue: {sentence.strip()}"


@pytest.mark.parametrize(
    ("workflow", "sentence"),
    [
        ([], "a workflow is an object with a name and nodes"),
        ({"nodes": []}, "a workflow needs a name of 1 to 255 bytes"),
        ({"name": "w"}, "a workflow needs nodes, a list of objects"),
        ({"name": "w", "nodes": [], "on_failure": "x"}, 'on_failure is "x": give cancel, stop or continue'),
        ({"name": "w", "nodes": [], "key": 7}, "the key of a workflow is a text of 1 to 255 bytes"),
        ({"name": "w", "nodes": [], "x": 7}, 'unknown option {"x": 7} for a workflow'),
        ({"name": "w", "nodes": [{}] * 20001}, "a workflow has at most 20000 nodes, and this one has 20001"),
    ],
)
def test_options_of_a_workflow_that_are_wrong_are_refused_with_a_sentence(
    db: Connection[Any], workflow: object, sentence: str
) -> None:
    assert refusal(db, "select pgqueue.enqueue_workflow(%s)", Jsonb(workflow)) == f"pgqueue: {sentence}"


def test_a_node_with_the_name_of_a_hook_is_refused(db: Connection[Any]) -> None:
    said = refusal(
        db, "select pgqueue.enqueue_workflow(%s)", Jsonb({"name": "w", "nodes": [{"task": "t:on_dead"}]})
    )
    assert said == "pgqueue: the name t:on_dead is reserved"


# ------------------------------------------------------------------ retention


def test_a_workflow_goes_with_its_nodes_when_all_have_ended_longer_ago_than_the_retention(
    db: Connection[Any], hand: Hand
) -> None:
    ended = store(db, node("a"), node("b", "a"))
    run_due(db, hand)
    store(db, node("a", delay=3600), node("b", "a"))
    db.execute(
        "insert into pgqueue.queues (name, retention) values ('default', interval '2 days') on conflict do nothing"
    )
    assert run(db, statements.purge_workflows(100)) == 0
    db.execute("update pgqueue.workflows set created_at = now() - interval '40 days'")
    assert run(db, statements.purge_workflows(100)) == 0
    db.execute("update pgqueue.nodes set ended_at = now() - interval '39 days' where ended_at is not null")
    assert run(db, statements.purge_workflows(1)) == 1
    assert run(db, statements.purge_workflows(100)) == 1
    assert run(db, statements.purge_workflows(100)) == 1
    assert db.execute("select count(*) from pgqueue.nodes where workflow_id = %s", [ended]).fetchone() == (0,)
    assert db.execute(
        "select (select count(*) from pgqueue.workflows), (select count(*) from pgqueue.dependencies)"
    ).fetchone() == (1, 1)


def test_a_job_that_is_no_node_has_no_workflow(db: Connection[Any]) -> None:
    assert row(db, enqueue(db), "workflow_id") == (None,)


def test_why_says_which_nodes_a_node_waits_for(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b"), group("g", "b"), node("c", "a", "g"))
    found = ids(db, flow)
    said = run(db, statements.why(found["c"]))
    assert said.reason == "waiting"
    assert said.sentence == (
        f"It is node c of workflow {flow}, and waits for the end of 2 nodes: a (job {found['a']}), g (group)."
    )


# ------------------------------------------------------------------ with a real worker


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_a_worker_runs_a_workflow_in_each_executor(db: Connection[Any], app: App, executor: Any) -> None:
    ran: list[object] = []

    @app.task(name="t")
    def t(n: int, before: object = None) -> object:
        ran.append((n, before))
        return None if n == 1 else n

    flow = store(
        db,
        node("a", args={"n": 1}),
        node("b", "a", args={"n": 2}),
        node("c", args={"n": 3}, results={"before": "b"}),
    )
    drain(app, executor)
    assert ran == [(1, None), (2, None), (3, 2)]
    assert overview(db, flow) == "completed"


def test_a_node_that_completes_in_its_own_transaction_releases_what_follows(
    db: Connection[Any], app: App
) -> None:
    @app.task(name="t")
    def t(job: Job) -> None:
        with job.transaction() as connection:
            connection.execute("select 1")

    flow = store(db, node("a"), node("b", "a"))
    drain(app, "thread")
    assert states(db, flow) == {"a": "completed", "b": "completed"}


@pytest.mark.parametrize("own", [False, True])
def test_a_released_node_starts_at_once_in_the_worker_that_released_it_although_no_wake_up_arrives(
    db: Connection[Any], app: App, own: bool
) -> None:
    @app.task(name="t")
    async def t(job: Job) -> None:
        if own:
            async with job.atransaction():
                pass

    @app.task(name="last")
    async def last() -> None:
        worker.stop()

    settings = WorkerSettings(queues={"default": None}, poll=60.0, listen=False)
    worker = Worker(app, settings)
    flow = store(db, node("a"), node("b", "a"), node("c", "b"), node("d", "c", task="last"))
    begun = time.monotonic()
    worker.run()
    assert time.monotonic() - begun < 40
    assert set(states(db, flow).values()) == {"completed"}


def drain(app: App, executor: Any) -> None:
    """Runs a worker until no job is left. A node that is released while the worker ends is left to another run."""
    for _ in range(3):
        Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.05, executor=executor)).run()


def test_the_leader_finishes_what_was_left_and_mends_nodes_whose_jobs_are_gone(
    db: Connection[Any], dsn: str
) -> None:
    flow = store(db, node("a"), node("b", "a"), node("c"), node("d", "c"))
    found = ids(db, flow)
    db.execute("delete from pgqueue.jobs where id = %s", [found["c"]])
    db.execute("update pgqueue.workflows set stop_reason = 'workflow_cancelled'")

    async def lead() -> None:
        link = Link(dsn, "test", Outage(dsn))
        try:
            await Finisher(link).once()
            await Nodes(link).mend()
        finally:
            await link.close()

    asyncio.run(lead())
    assert db.execute("select distinct state from pgqueue.nodes").fetchall() == [("cancelled",)]
    db.execute("delete from pgqueue.nodes where id = %s", [found["c"]])
    db.execute("update pgqueue.nodes set failed = 0 where id = %s", [found["d"]])
