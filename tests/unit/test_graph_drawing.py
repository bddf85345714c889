"""The drawing of a workflow on the terminal. The nodes are those that the builder would store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pgqueue import App, chain, group
from pgqueue.database.statements.workflows import NodeRow
from pgqueue.model.graph import Graph
from pgqueue.ui.cli.graph_drawing import FINE, PLAIN, drawn
from pgqueue.ui.cli.graph_levels import arranged

app = App("postgresql://nowhere")


@app.task(name="a")
def a() -> None: ...


@app.task(name="b")
def b() -> None: ...


def rows(build: Callable[[Graph], object], states: dict[str, str] | None = None) -> list[NodeRow]:
    graph = Graph(lambda _: {})
    build(graph)
    stored = json.loads(graph.built({}, name="flow").text)["nodes"]
    ids = {node["name"]: at for at, node in enumerate(stored, 1)}
    return [
        NodeRow(
            ids[node["name"]], node["name"], node.get("task"), (states or {}).get(node["name"], "waiting"), "group" in node,
            node.get("gives"), node.get("when", "completed"), "E: no" if (states or {}).get(node["name"]) == "dead" else None,
            None, False, None, [ids[name] for name in node.get("after", node.get("group", []))],
        )
        for node in stored
    ]  # fmt: skip


def drawing(found: Iterable[NodeRow], *, whole: bool = False) -> list[str]:
    return [
        f"{line.indent}{line.head}" + (f"  {line.notes}" if "group" in line.notes or not line.state else "")
        for line in drawn(arranged(found), FINE, whole=whole)
    ]


def of(part: Any, states: dict[str, str] | None = None, **options: Any) -> list[str]:
    return drawing(rows(lambda graph: graph.add(part, None, (), None), states), **options)


def test_a_chain_is_drawn_from_top_to_bottom():
    assert of(chain(a.job(), b.job(), a.job()), {"a": "completed", "b": "running"}) == [
        "✓ a", "▶ b", "· a-2",
    ]  # fmt: skip


def test_a_node_or_a_group_that_the_database_refused_shows_the_error():
    found = rows(lambda graph: graph.add(group([a.job()]), None, (), None))
    lines = drawn(arranged([node._replace(refusal="no\nmore") for node in found]), FINE, whole=True)
    assert [line.notes for line in lines] == ["group of 1 job: 1 waiting; no", "a, job 1; no"]


def test_a_group_has_its_jobs_inside_and_what_follows_it_below():
    found = of(chain(a.job(), group(b.job() for _ in range(3)), a.job()), {"a": "completed", "b-2": "dead"})
    assert found == [
        "✓ a",
        "· group  group of 3 jobs: 2 waiting, 1 dead",
        "    ├─ · b",
        "    ├─ ✗ b-2",
        "    └─ · b-3",
        "· a-2",
    ]


def test_groups_in_groups_and_chains_in_groups_are_levels_of_their_own():
    assert of(group(chain(a.job(), group(b.job(), b.job())), a.job())) == [
        "· group-2  group of 4 jobs: 4 waiting",
        "    ├─ · a",
        "    │  · group  group of 2 jobs: 2 waiting",
        "    │      ├─ · b",
        "    │      └─ · b-2",
        "    └─ · a-2",
    ]


def test_a_node_that_waits_for_several_stands_below_the_last_of_them_and_names_the_others():
    def diamond(graph: Graph) -> None:
        start = graph.add(a.job(), "start", (), None)
        left, right = (graph.add(b.job(), name, (start,), None) for name in ("left", "right"))
        graph.add(a.job(), "end", (left, right), "failed")

    found = rows(diamond)
    assert drawing(found) == ["· start", "├─ · left", "└─ · right", "   · end"]
    *_, end = drawn(arranged(found), FINE, whole=False)
    assert end.notes == "a, job 4; when failed; also after left"


def test_a_line_says_for_which_signal_a_job_waits_why_it_was_cancelled_and_when_it_runs_unless_it_is_an_undo():
    def build(graph: Graph) -> None:
        graph.add(chain(a.job(), b.job()), None, (), None)

    [first, second] = rows(build)
    waits = first._replace(signals=["approved", "refused"])
    undo = second._replace(
        needs="ended", is_undo=True, state="cancelled", error="Cancel: nobody answered\nin time"
    )
    assert [line.notes for line in drawn(arranged([waits, undo]), FINE, whole=False)] == [
        "a, job 1; waits for the signal approved or refused", "b, job 2; Cancel: nobody answered",
    ]  # fmt: skip


def test_an_empty_group_and_several_roots_are_drawn():
    def build(graph: Graph) -> None:
        graph.add(chain(a.job(), group(), b.job()), None, (), None)
        graph.add(group(), "none", (), None)

    assert drawing(rows(build)) == [
        "├─ · a", "│  · group  group of 0 jobs", "│  · b", "└─ · none  group of 0 jobs",
    ]  # fmt: skip


def test_a_wide_group_shows_what_failed_and_what_runs_and_counts_the_rest():
    states = {"b-300": "dead", "b-17": "running"} | dict.fromkeys(
        [f"b-{n}" for n in range(400, 501)], "completed"
    )
    found = of(group(chain(b.job(), a.job()) for _ in range(500)).then(a.job()), states)
    heads = [line.split("  ")[0] if line[0] != " " else line.strip() for line in found]
    assert len(found) < 30
    assert any("✗ b-300" in line for line in heads)
    assert any("▶ b-17" in line for line in heads)
    assert "    └─ … 980 more jobs  879 waiting, 101 completed" in found or any(
        "… 980 more jobs" in line for line in found
    )
    assert found[-1] == "· a-501"
    assert len(of(group(b.job() for _ in range(500)), whole=True)) == 501


def test_a_long_chain_shows_its_ends_and_what_failed():
    states = dict.fromkeys(["a", *(f"a-{n}" for n in range(2, 5_000))], "completed") | {"a-5000": "dead"}
    found = of(chain(a.job() for _ in range(20_000)), states)
    assert len(found) < 40
    assert (found[0], found[-1]) == ("✓ a", "· a-20000")
    assert "✗ a-5000" in found
    assert "… 4,969 more jobs  4,969 completed" in found
    assert len(of(chain(a.job() for _ in range(100)), whole=True)) == 100


def test_parts_of_a_large_group_are_not_drawn():
    found = of(group(b.job() for _ in range(250)).then(a.job()))
    assert found[0] == "· group  group of 250 jobs: 250 waiting"
    assert not any("part" in line for line in found)


@pytest.mark.parametrize("glyphs", [FINE, PLAIN])
def test_each_state_has_a_mark_of_its_own(glyphs: Any):
    assert len(set(glyphs.marks.values())) == len(glyphs.marks) == 7


def test_the_plain_glyphs_are_ascii():
    assert "".join([*PLAIN.marks.values(), PLAIN.branch, PLAIN.last, PLAIN.side, PLAIN.rest]).isascii()
