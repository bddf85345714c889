"""Workflows that are built in Python: what runs, in which order, and what its handlers see."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, chain, group
from pgqueue.errors import InvalidWorkflowError
from tests.stages.built_workflows import acollect, add, collect, drain, number, result, sum_up
from tests.workflows import states

pytestmark = pytest.mark.usefixtures("consistent_workflows")


@pytest.fixture
def app(workflow_app: App) -> App:
    return workflow_app


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
    monkeypatch.setattr("pgqueue.worker.awaited.RESULTS_AT_ONCE", 7)
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
