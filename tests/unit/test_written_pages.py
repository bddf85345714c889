"""Pages as values become text, JSON and drawings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from pgqueue.database.statements.workflows import NodeRow
from pgqueue.ui.reading import written
from pgqueue.ui.reading.documents import as_json
from pgqueue.ui.reading.graph import MOST_NODES, TALLEST, graph
from pgqueue.ui.reading.page import (
    Chart,
    Column,
    Count,
    Document,
    Fact,
    Facts,
    Notice,
    Page,
    Query,
    Series,
    Table,
    Tile,
    Tiles,
)
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.reading.reader import literal
from pgqueue.ui.reading.text import as_text, width_of
from tests.hostile_text import HOSTILE, acts

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def page(*blocks: object, title: str = "Jobs") -> Page:
    return Page(name="jobs", title=title, path="/jobs", blocks=blocks)  # type: ignore[arg-type]


def table(*rows: dict[str, object]) -> Table:
    columns = (Column("id", "Job", "id"), Column("task", "Task", "code"), Column("took", "Took", "duration"))
    return Table(name="jobs", title="All", columns=columns, rows=rows, empty="There is no job.")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "text", ""),
        (1234567, "number", "1,234,567"),
        (1234567, "id", "1234567"),
        (Count(1234567), "count", "1,234,567"),
        (Count(1234567, is_exact=False), "count", "≈ 1,200,000"),
        (Count(7, is_exact=False), "count", "≈ 7"),
        (0.0004, "duration", "0.4 ms"),
        (0.25, "duration", "250 ms"),
        (90.0, "duration", "2 m"),
        (0.456, "share", "46 %"),
        (5 * 1024 * 1024, "size", "5MB"),
        ({"a": [1, "é"]}, "json", '{"a": [1, "é"]}'),
        (["a", "b"], "list", "a, b"),
        (True, "number", "True"),
        ("x" * 500, "text", "x" * 399 + "…"),
    ],
)
def test_a_value_of_a_cell_is_written_like_this(value, kind, text):
    assert written.cell(value, kind) == text


def test_a_relative_time_says_whether_it_is_over():
    now = datetime.now(UTC)
    assert written.cell(now - timedelta(seconds=90.4), "time") == "2 m ago"
    assert written.cell(now + timedelta(hours=3, seconds=30), "time") == "in 3 h"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (Count(999_999), "999,999"),
        (Count(1_234_567), "1.23 M"),
        (Count(2_500_000_000), "2.50 G"),
        (Count(1_234_567, is_exact=False), "≈ 1.2 M"),
    ],
)
def test_a_large_number_in_a_small_space_is_short(count, text):
    assert written.short(count) == text


def test_a_table_in_text_has_aligned_columns_and_leaves_out_empty_ones():
    text = as_text(
        page(table({"id": 1, "task": "日本", "took": None}, {"id": 1000, "task": "mail", "took": None}))
    )
    lines = text.splitlines()
    assert lines[2:] == ["ALL", " Job  Task", "   1  日本", "1000  mail"]
    assert [width_of(line) for line in lines[4:]] == [10, 10]


def test_an_empty_table_says_why_it_is_empty():
    assert "There is no job." in as_text(page(table()))


@pytest.mark.parametrize("write", [as_text, as_json])
def test_no_text_of_a_page_controls_a_terminal(write):
    blocks = (
        Notice("error", HOSTILE, HOSTILE),
        table({"id": 1, "task": HOSTILE, "took": 1.0}),
        Facts(
            name="facts",
            title="Facts",
            items=[Fact("a", "A", HOSTILE), Fact("b", "B", {"x": HOSTILE}, "json")],
        ),
        Tiles(name="tiles", title="Tiles", items=[Tile("a", "A", HOSTILE, "text", hint=HOSTILE)]),
        Document(name="error", title="Error", text=HOSTILE),
        Document(name="args", title="Arguments", value={"x": [HOSTILE]}),
        Chart(name="chart", title="Chart", unit="s", times=[0], series=[Series(HOSTILE, [1.0])]),
    )
    text = write(page(*blocks, title=HOSTILE))
    assert not acts(text, "\n")


def test_json_has_ids_as_texts_times_in_utc_and_says_which_counts_are_estimates():
    found = json.loads(
        as_json(
            page(
                table({"id": 2**60, "task": "a", "took": 1.5}),
                Facts(
                    name="facts",
                    title="Facts",
                    items=[Fact("at", "At", AT, "time"), Fact("worker", "Worker", 7, "id")],
                ),
                Tiles(
                    name="counts",
                    title="Counts",
                    items=[Tile("due", "Due", Count(5)), Tile("dead", "Dead", Count(900, is_exact=False))],
                ),
            )
        )
    )
    assert found["jobs"] == {
        "items": [{"id": str(2**60), "task": "a", "took": 1.5}],
        "next": None,
        "note": None,
    }
    assert found["facts"] == {"at": "2026-11-30T12:00:00Z", "worker": "7"}
    assert found["counts"] == {"due": 5, "dead": {"estimate": 900}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (5, "5"), ("it's", "'it''s'"), (["a", 1], "array['a', 1]"), (AT, "'2026-11-30T12:00:00+00:00'"),
        ("\x1b[2J", "E'\\x1b[2J'"),
    ],
)  # fmt: skip
def test_a_value_in_the_shown_sql_is_a_literal_that_psql_reads(value, text):
    assert literal(value) == text


def node(number: int, *after: int, gives: str | None = None) -> NodeRow:
    return NodeRow(
        number,
        f"n{number}",
        "t",
        "pending",
        gives is not None,
        gives,
        "all",
        None,
        None,
        False,
        None,
        list(after),
    )


def test_each_node_of_a_graph_stands_to_the_right_of_all_that_it_waits_for():
    drawn = graph([node(1), node(2, 1), node(3, 1), node(4, 2, 3), node(5, 4), node(6, 1, 5)], Query(""))
    column = {placed.id: placed.column for placed in drawn.nodes}
    assert column == {"1": 0, "2": 1, "3": 1, "4": 2, "5": 3, "6": 4}
    assert set(drawn.edges) == {
        ("1", "2"),
        ("1", "3"),
        ("2", "4"),
        ("3", "4"),
        ("4", "5"),
        ("1", "6"),
        ("5", "6"),
    }
    places = {(placed.column, placed.row) for placed in drawn.nodes}
    assert len(places) == len(drawn.nodes)


def test_a_part_is_not_drawn_and_its_members_lead_to_what_waits_for_it():
    drawn = graph([node(1), node(2), node(3, 1, 2, gives="members"), node(4, 3)], Query(""))
    assert {placed.id for placed in drawn.nodes} == {"1", "2", "4"}
    assert set(drawn.edges) == {("1", "4"), ("2", "4")}


def test_of_a_large_workflow_only_a_part_is_drawn_and_the_graph_says_so():
    wide = graph([node(1), *(node(number, 1) for number in range(2, 102))], Query(""))
    assert len(wide.nodes) == TALLEST + 1
    assert wide.note == f"{101 - TALLEST - 1} more nodes are in the table below."
    long = graph([node(1), *(node(number, number - 1) for number in range(2, 1001))], Query(""))
    assert len(long.nodes) == MOST_NODES


def test_a_cycle_that_somebody_wrote_by_hand_is_drawn_all_the_same():
    assert len(graph([node(1, 2), node(2, 1)], Query("")).nodes) == 2


def test_each_page_has_a_name_of_its_own_and_each_key_opens_one_page():
    names = [route.name for route in PAGES]
    keys = [route.key for route in PAGES if route.key]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)


def test_a_graph_of_groups_in_groups_is_drawn_soon():
    # each group gives the members of the one before: a walk of all paths would double with each group
    nodes = [node(1), node(2)]
    for number in range(3, 61, 2):
        before = (number - 2, number - 1)
        nodes += [node(number, *before, gives="members"), node(number + 1, *before, gives="members")]
    nodes.append(node(99, 59, 60))
    began = monotonic()
    assert {placed.id for placed in graph(nodes, Query("")).nodes} == {"1", "2", "99"}
    assert monotonic() - began < 2
