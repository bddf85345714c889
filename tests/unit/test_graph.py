"""Chains, groups and nodes become the JSON of a workflow. No database."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import pytest

from pgqueue import App, Chain, Group, NewJob, Node, chain, group
from pgqueue.errors import (
    InvalidArgumentsError,
    InvalidOptionError,
    InvalidWorkflowError,
    PayloadTooLargeError,
)
from pgqueue.model import graph_text
from pgqueue.model.graph import Graph
from pgqueue.model.graph_text import Built

app = App("postgresql://nowhere")


@app.task(name="shop.a")
def a(n: int = 0) -> int:
    return n


@app.task(name="shop.b", unique=["n"], queue="mail")
def b(n: int, text: str = "") -> None: ...


@app.task(name="total")
def total(parts: list[int], **more: Any) -> None: ...


def new_graph() -> Graph:
    return Graph(lambda task: app.store.specs[task].rules)


def built(part: Any, **options: Any) -> list[dict[str, Any]]:
    made = new_graph()
    made.add(part, options.get("name"), (), None)
    return nodes(made.built({}, name="flow"))


def nodes(made: Built) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(made.text)["nodes"]
    assert [node["name"] for node in found] == made.names
    return found


def edges(found: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {node["name"]: node.get("after", node.get("group", [])) for node in found}


# ------------------------------------------------------------------ shapes


def test_the_parts_of_a_chain_run_one_after_the_other():
    assert edges(built(chain(a.job(1), a.job(2), b.job(3)))) == {"a": [], "a-2": ["a"], "b": ["a-2"]}


def test_what_follows_a_group_waits_for_one_gate_and_so_does_each_job_of_a_group_after_a_group():
    found = edges(built(chain(group(a.job() for _ in range(3)), group(b.job(n) for n in range(3)), a.job())))
    assert found == {
        "a": [], "a-2": [], "a-3": [], "group": ["a", "a-2", "a-3"],
        "b": ["group"], "b-2": ["group"], "b-3": ["group"], "group-2": ["b", "b-2", "b-3"],
        "a-4": ["group-2"],
    }  # fmt: skip


def test_a_job_of_a_node_has_its_arguments_its_options_and_nothing_else():
    [found] = built(a.using(priority=3, delay="1m").job(7))
    assert found == {
        "name": "a", "task": "shop.a", "declared": True, "args": {"n": 7}, "queue": "default", "max_attempts": 6, "priority": 3,
        "delay": 60.0,
    }  # fmt: skip


def test_each_node_belongs_to_the_trace_in_which_the_workflow_was_built():
    made = new_graph()
    made.add(chain(a.job(), b.job(1)), None, (), None)
    headers = {"traceparent": "00-1-2-01"}
    assert [node["trace_context"] for node in nodes(made.built(headers, name="flow"))] == [headers] * 2


def test_then_makes_a_chain_of_a_group_and_a_job():
    then = group([a.job(1), a.job(2)]).then(b.job(3))
    assert isinstance(then, Chain)
    assert edges(built(then)) == {"a": [], "a-2": [], "group": ["a", "a-2"], "b": ["group"]}
    assert edges(built(chain(a.job()).then(a.job()).then(a.job()))) == {"a": [], "a-2": ["a"], "a-3": ["a-2"]}


def test_a_group_of_one_is_a_group():
    assert edges(built(group([a.job()]))) == {"a": [], "group": ["a"]}


def test_what_follows_an_empty_group_still_waits_for_what_stands_before_the_group():
    found = built(chain(a.job(), group(), b.job(1)))
    assert edges(found) == {"a": [], "group": ["a"], "b": ["group"]}
    assert found[1]["gives"] == "nothing"  # so the result of ``a`` is not taken for one of the group
    assert built(group()) == [{"name": "group", "group": []}]


def test_chains_in_groups_and_groups_in_groups_end_in_one_gate():
    found = edges(built(group(chain(a.job(), b.job(1)), group(a.job(), a.job()))))
    assert found == {
        "a": [], "b": ["a"], "a-2": [], "a-3": [], "group": ["a-2", "a-3"], "group-2": ["b", "group"],
    }  # fmt: skip


def test_the_name_of_a_chain_or_a_group_stands_before_the_names_in_it():
    found = edges(built(chain(a.job(), chain(a.job(), group(b.job(1), name="thumbs"), name="inner"))))
    assert found == {
        "a": [],
        "inner.a": ["a"],
        "inner.thumbs.b": ["inner.a"],
        "inner.thumbs": ["inner.thumbs.b"],
    }


def test_a_group_that_nobody_can_count_at_once_is_divided_into_parts():
    found = edges(built(group([a.job() for _ in range(450)]).then(b.job(1))))
    parts = [f"group.part{more}" for more in ("", "-2", "-3", "-4", "-5")]
    assert [len(found[part]) for part in parts] == [100, 100, 100, 100, 50]
    assert [name for part in parts for name in found[part]] == [
        name for name in found if name.startswith("a")
    ]
    assert (found["group"], found["b"]) == (parts, ["group"])
    assert max(map(len, found.values())) <= graph_text.MOST_EDGES_IN


def test_nodes_that_wait_for_the_same_many_others_share_their_parts():
    made = new_graph()
    many = tuple(made.add(a.job(), None, (), None) for _ in range(250))
    for _ in range(250):
        made.add(b.job(1), None, many, None)
    found = edges(nodes(made.built({}, name="flow")))
    assert len(found) == 250 + 3 + 250
    assert sum(map(len, found.values())) == 250 + 250 * 3


# ------------------------------------------------------------------ references and names


def test_a_result_becomes_an_argument_by_reference():
    made = new_graph()
    first = made.add(a.job(1), "first", (), None)
    made.add(b.job(first.result, text="x"), None, (), None)
    made.add(total.job(parts=first.result, other=first.result), None, (first,), "ended")
    _, second, third = nodes(made.built({}, name="flow"))
    assert (second["args"], second["results"]) == ({"text": "x"}, {"n": "first"})
    assert (third["args"], third["results"], third["after"], third["when"]) == (
        {}, {"parts": "first", "other": "first"}, ["first"], "ended",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda one: b.job(text=one.result), "n is missing"),
        (lambda one: a.job(m=one.result), "m is unknown"),
        (lambda one: a.job(1, 2, one.result), "takes 1 positional"),
        (lambda one: total.job([1, one.result]), "The argument 'parts' of task total contains the result of node one."),
        (lambda one: total.job([], more={"x": [one.result]}), "The argument 'more' of task total contains the result"),
        (lambda one: b.job(1, text=f"{one.result}"), "The result of node one is made into text"),
        (lambda one: b.job(1, text="x" if one.result else ""), "The result of node one is tested"),
        (lambda one: b.enqueue(one.result), "takes the result of node one, but is no node of that workflow"),
        (lambda one: app.enqueue_many([b.job(one.result)]), "takes the result of node one, but is no node"),
        (lambda one: b.enqueue_many([b.job(one.result)]), "takes the result of node one, but is no node"),
    ],
)  # fmt: skip
def test_a_result_can_only_be_a_whole_argument_of_a_node(make: Any, says: str):
    with pytest.raises(InvalidArgumentsError, match=says):
        make(new_graph().add(a.job(), "one", (), None))


def test_the_arguments_beside_a_result_are_checked():
    one = new_graph().add(a.job(), "one", (), None)
    with pytest.raises(InvalidArgumentsError, match="text: Input should be a valid string"):
        b.job(one.result, text=7)  # type: ignore[arg-type]


def test_a_node_has_the_name_of_its_task_and_a_number_if_the_name_is_taken():
    made = new_graph()
    names = [made.add(a.job(), name, (), None).name for name in ("a-2", None, None, None)]
    assert names == ["a-2", "a", "a-3", "a-4"]


@pytest.mark.parametrize("names", [("x", "x"), (None, "a")])
def test_two_nodes_with_one_name_are_refused(names: tuple[str | None, str]):
    made = new_graph()
    made.add(a.job(), names[0], (), None)
    with pytest.raises(InvalidWorkflowError, match=f"Two nodes are named '{names[1]}'"):
        made.add(a.job(), names[1], (), None)


def test_a_node_of_another_workflow_is_refused():
    made, other = new_graph(), new_graph().add(a.job(), "there", (), None)
    for adding in (
        lambda: made.add(a.job(), None, (other,), None),
        lambda: made.add(a.job(other.result), None, (), None),
    ):
        with pytest.raises(InvalidWorkflowError, match="Node 'there' belongs to another workflow"):
            adding()


def test_a_cycle_is_refused_and_named():
    made = new_graph()
    made.add(a.job(), "first", (), None)
    made.add(a.job(), "x", ("z", "first"), None)
    made.add(a.job(), "y", ("x",), None)
    made.add(a.job(), "z", ("y",), None)
    with pytest.raises(
        InvalidWorkflowError,
        match=r"The nodes wait for each other: (x → y → z → x|y → z → x → y|z → x → y → z)",
    ):
        made.built({}, name="flow")


def test_a_node_that_waits_for_itself_is_refused():
    made = new_graph()
    made.add(a.job(), "x", ("x",), None)
    with pytest.raises(InvalidWorkflowError, match="x → x"):
        made.built({}, name="flow")


def test_a_name_of_a_later_node_puts_that_node_first_and_moves_no_other():
    made = new_graph()
    for name, befores in (("x", ("z",)), ("y", ()), ("z", ()), ("w", ("y",))):
        made.add(a.job(), name, befores, None)
    assert list(edges(nodes(made.built({}, name="flow")))) == ["y", "z", "x", "w"]


def test_a_name_that_no_node_has_is_refused():
    made = new_graph()
    made.add(a.job(), "x", ("yy",), None)
    with pytest.raises(InvalidWorkflowError, match="Node 'x' waits for 'yy', but no node has that name"):
        made.built({}, name="flow")


def test_an_undo_is_stored_with_its_node_and_takes_results_of_this_node_and_earlier_ones():
    made = new_graph()
    first, second = (made.add(a.job(n), None, (), None) for n in (1, 2))
    made.set_undo(second, b.using(queue="undo").job(first.result, text="x"))
    made.set_undo(first, total.job(first.result))
    one, two = nodes(made.built({}, name="flow"))
    assert (one["undo"]["task"], one["undo"]["results"]) == ("total", {"parts": "a"})
    assert two["undo"] == {
        "task": "shop.b", "declared": True, "args": {"text": "x"}, "queue": "undo", "max_attempts": 6, "results": {"n": "a"},
    }  # fmt: skip


def test_an_undo_of_a_group_or_of_a_later_result_is_refused():
    made = new_graph()
    first, later = (made.add(a.job(n), None, (), None) for n in (1, 2))
    for node, job in (
        (made.add(group(), None, (), None), a.job()),
        (first, group()),
        (first, b.using(unique_key="k").job(1)),
    ):
        with pytest.raises(InvalidWorkflowError):
            made.set_undo(node, job)
    with pytest.raises(InvalidWorkflowError, match="takes the result of 'a-2', which was added after it"):
        made.set_undo(first, a.job(later.result))


# ------------------------------------------------------------------ what is refused


def test_keys_that_a_task_declares_do_not_count_for_nodes_and_keys_of_a_job_are_refused():
    assert "unique" not in built(b.job(1))[0]
    assert "unique" not in built(b.using(unique=False).job(1))[0]
    for options in (
        {"unique_key": "k"},
        {"idempotency_key": "k"},
        {"unique": True},
        {"throttle": 5, "unique_key": "k"},
    ):
        with pytest.raises(InvalidWorkflowError, match=r"A node of task shop\.b has the option"):
            built(b.using(**options).job(1))


def test_the_error_about_a_node_with_the_option_wake_says_how_a_workflow_wakes_no_worker():
    with pytest.raises(InvalidWorkflowError, match="notify = 'off'") as caught:
        built(b.using(wake=False).job(1))
    assert "whatever other jobs there are" not in caught.value.why


@pytest.mark.parametrize(
    "make",
    [chain, lambda: chain([]), lambda: chain(7), lambda: group(a.job(), "x"), lambda: group([a.job(), None]), lambda: group([]).then(3)],
)  # fmt: skip
def test_a_part_that_is_no_job_and_a_chain_of_nothing_are_refused(make: Any):
    with pytest.raises(InvalidWorkflowError):
        make()


def test_a_wrong_when_is_refused():
    made = new_graph()
    one = made.add(a.job(), None, (), None)
    with pytest.raises(InvalidOptionError, match="when is 'failing'"):
        made.add(a.job(), None, (one,), "failing")  # type: ignore[arg-type]
    with pytest.raises(InvalidWorkflowError, match="waits for no node"):
        made.add(a.job(), None, (), "failed")
    with pytest.raises(InvalidWorkflowError, match="for a group or a chain"):
        made.add(group(), None, (one,), "failed")


@pytest.mark.parametrize("name", ["", "x" * 256, "a\x00b", 7])
def test_a_name_that_cannot_be_stored_is_refused(name: Any):
    with pytest.raises(InvalidOptionError, match="the name of a node"):
        new_graph().add(a.job(), name, (), None)


def test_too_many_nodes_and_too_long_arguments_are_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidWorkflowError, match="The workflow has 20,201 nodes, and the limit is 20,000"):
        built(group([a.job()] * 20_000))
    monkeypatch.setattr(graph_text, "DOCUMENT_LIMIT", 100)
    with pytest.raises(PayloadTooLargeError):
        built(group([a.job()] * 10))


def test_nothing_is_added_after_the_end_of_the_block():
    made = new_graph()
    made.built({}, name="flow")
    with pytest.raises(InvalidWorkflowError, match="whose block has ended"):
        made.add(a.job(), None, (), None)


# ------------------------------------------------------------------ cost


def test_definitions_of_any_depth_and_size_cost_linear_time_and_no_recursion():
    deep: Any = a.job()
    for _ in range(5 * sys.getrecursionlimit()):
        deep = chain(group(deep), a.job())
    shallow = group([a.job() for _ in range(9_000)])

    def seconds(part: Any) -> float:
        began = time.process_time()
        built(part)
        return time.process_time() - began

    assert seconds(deep) < 5
    assert seconds(shallow) < 2
    del deep


def test_the_text_of_a_value_shows_no_argument():
    made = new_graph().add(b.job(4711), None, (), None)
    shown = repr((b.job(4711), group(b.job(4711)), chain(b.job(4711)), made, made.result))
    assert "4711" not in shown
    assert isinstance(group(), Group)
    assert isinstance(made, Node)
    assert isinstance(b.job(1), NewJob)


@dataclass
class Item:
    n: int = 0


def test_a_result_for_a_task_that_takes_chunks_is_refused_with_what_to_do_instead() -> None:
    @app.task(name="chunked", chunk=10)
    def chunked(items: list[Item]) -> None: ...

    node = new_graph().add(a.job(1), "a", (), None)
    for make in (lambda: chunked.job(n=node.result), lambda: chunked.job(Item(node.result))):
        with pytest.raises(InvalidArgumentsError, match="but the task takes chunks"):
            make()
