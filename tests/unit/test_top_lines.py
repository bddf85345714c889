"""How the terminal dashboard writes a page as lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgqueue.ui.reading.page import (
    Chart,
    Column,
    Document,
    Graph,
    Kind,
    Notice,
    Page,
    PlacedNode,
    Series,
    Table,
)
from pgqueue.ui.reading.written import MARKS as WORDS
from pgqueue.ui.tui.keys import help_lines
from pgqueue.ui.tui.line import MARKS
from pgqueue.ui.tui.lines import lines_of, sparkline
from pgqueue.ui.tui.table import fit


def texts(*blocks: Table | Chart | Graph | Notice | Document, width: int = 40) -> list[str]:
    page = Page(name="page", title="Page", path="/", blocks=blocks)
    return [line.text.plain.rstrip() for line in lines_of(page, width)]


@pytest.mark.parametrize(
    ("values", "room", "drawn"),
    [
        ([0, 1, 2, 4, 7], 10, "▁▂▃▅█"),
        ([0, 0, 0], 10, "▁▁▁"),
        ([None, 5, None], 10, " █ "),
        ([1, 9, 2, 2, 0, 0], 3, "█▃▁"),
        ([0.001, 1000], 10, "▂█"),
        ([], 10, ""),
        ([-3, 7], 10, "▁█"),
    ],
)
def test_a_sparkline_shows_the_largest_value_of_each_step(
    values: Sequence[float | None], room: int, drawn: str
):
    assert sparkline(values, room) == drawn


@pytest.mark.parametrize(
    ("wanted", "kinds", "width", "sizes"),
    [
        ([5, 10], ["id", "text"], 40, [5, 10]),
        ([5, 40], ["id", "text"], 30, [5, 24]),
        ([5, 40, 12], ["id", "text", "code"], 30, [5, 11, 12]),
        ([10, 10, 10], ["time", "time", "time"], 25, [10, 10]),
        ([50], ["number"], 30, [30]),
        ([8, 8, 20], ["state", "time", "text"], 24, [8, 8, 6]),
        ([8, 8, 20], ["state", "time", "text"], 20, [8, 8]),
    ],
)
def test_texts_are_cut_before_columns_are_left_out(
    wanted: list[int], kinds: list[Kind], width: int, sizes: list[int]
):
    assert fit(wanted, kinds, width, 1) == sizes
    assert sum(sizes) + len(sizes) - 1 <= width


def test_a_table_has_marks_links_and_its_next_page():
    table = Table(
        name="jobs", title="Jobs", empty="None.", older="/jobs?before=7", note="A note.",
        columns=(Column("id", "Job", "id", "/jobs/{id}"), Column("state", "State", "state"), Column("none", "None")),
        rows=[{"id": 8, "state": "dead", "none": None}, {"id": 7, "state": "pending", "none": None}],
    )  # fmt: skip
    page = Page(name="page", title="Page", path="/", blocks=[table])
    lines = lines_of(page, 40)
    assert [line.text.plain.rstrip() for line in lines] == [
        "Jobs", "Job  State", "  8  ✗ dead", "  7  ○ pending", "A note.", "→ More",
    ]  # fmt: skip
    assert [(line.at, line.to) for line in lines if line.at] == [
        (("jobs", 8), "/jobs/8"), (("jobs", 7), "/jobs/7"), (("jobs", "older"), "/jobs?before=7"),
    ]  # fmt: skip


def test_the_title_of_the_page_does_not_stand_over_its_table_again():
    table = Table(name="jobs", title="Page", columns=(), rows=[], empty="There is no job yet.")
    assert texts(table) == ["There is no job yet."]


def test_a_chart_is_a_line_for_each_series():
    chart = Chart(
        name="c", title="Ended", unit="per minute", times=[0, 60, 120], series=[Series("completed", [1, 2, 4], "completed"), Series("wait", [None] * 3)]
    )  # fmt: skip
    assert texts(chart) == ["Ended  per minute", "✓ completed  ▃▅█  now 4, most 4", "wait       no values"]


def test_a_graph_shows_what_each_node_waits_for():
    nodes = [PlacedNode("1", "first", "completed", 0, 0), PlacedNode("2", "second", "running", 1, 0, to="/jobs/2"), PlacedNode("3", "both", "waiting", 2, 0)]  # fmt: skip
    graph = Graph(name="g", title="Graph", nodes=nodes, edges=[("1", "2"), ("1", "3"), ("2", "3")])
    assert texts(graph, width=50) == [
        "Graph", "✓ first  completed", "  ▶ second  running  after first", "    · both  waiting  after first, second",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["x" * 100, "界" * 60, "a\x1b[31mb\r\nc", "e\u0301" * 90, "\u202ea" * 40, ""]
)
def test_no_text_is_wider_than_the_terminal(text: str):
    blocks = (
        Notice("warn", text, text, "/"),
        Document(name="d", title="D", text=text),
        Document(name="e", title="E", value={text: text}),
        Table(name="t", title=text, columns=[Column("a", "A", "code"), Column("b", "B", "text")], rows=[{"a": text, "b": text}], empty=text, note=text),
        Graph(name="g", title="G", nodes=[PlacedNode("1", text, text, 30, 0)], edges=[("1", "1")]),
    )  # fmt: skip
    page = Page(name="page", title="Page", path="/", blocks=blocks)
    for line in lines_of(page, 40):
        assert line.text.cell_len <= 40
        assert not set(line.text.plain) & set("\x1b\r\n\u202e")


def test_every_word_for_a_state_has_a_mark_of_one_column():
    assert set(WORDS.values()) | {"other"} == set(MARKS)
    assert all(len(sign) == 1 for sign, _ in MARKS.values())
    assert len({sign for sign, _ in MARKS.values()}) == len(MARKS)


def test_without_textual_the_error_says_what_to_install():
    script = "import sys; sys.modules['textual'] = None\nimport pgqueue.ui.tui.app"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PackageMissingError" in done.stderr
    assert "pip install 'pgqueue-jobs[tui]'" in done.stderr


def test_neither_pgqueue_nor_its_commands_import_textual():
    script = "import pgqueue, pgqueue.ui.cli.commands as c, sys; c.root(); print('textual' in sys.modules, 'pgqueue.ui.reading.pages' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_page_about_top_lists_its_keys_and_shows_a_screen_of_80_columns():
    page = (Path(__file__).parents[2] / "docs/top.md").read_text(encoding="utf-8")
    rows = [
        line.strip("| ").split(" | ") for line in page.split("|---|---|\n")[1].split("\n\n")[0].splitlines()
    ]
    assert [(keys.replace("`", ""), what) for keys, what in rows] == help_lines(can_act=True)
    screen = page.split("```text\n")[1].split("\n```")[0].splitlines()
    assert len(screen) == 24
    assert all(len(line) <= 80 for line in screen)
    for word in ("pending", "running", "retrying", "waiting", "completed", "cancelled", "dead"):
        assert f"`{MARKS[word][0]}` {word}" in " ".join(page.split())
