"""Computes where the parts of charts and graphs stand. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pgqueue.ui.reading.page import Chart, Graph, PlacedNode

WIDTH, HEIGHT = 168, 40  # of a node, in pixels
GAP_ACROSS, GAP_DOWN = 40, 12
LABEL = 17  # letters of a node's name that fit into its box
MARGIN = 2


@dataclass(frozen=True, slots=True)
class DrawnNode:
    x: float
    y: float
    label: str
    short: str
    state: str
    note: str | None
    to: str | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A graph with the places of its nodes, and a line of SVG for each edge."""

    width: float
    height: float
    nodes: Sequence[DrawnNode]
    lines: Sequence[str]
    node_width: int = WIDTH
    node_height: int = HEIGHT


def drawn(graph: Graph) -> Drawn:
    places = {node.id: _corner(node) for node in graph.nodes}
    nodes = [
        DrawnNode(*places[node.id], node.label, _short(node.label), node.state, node.note, node.to)
        for node in graph.nodes
    ]
    lines = [
        _line(places[before], places[after])
        for before, after in graph.edges
        if before in places and after in places
    ]
    return Drawn(
        max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN,
        max((y for _, y in places.values()), default=0) + HEIGHT + MARGIN,
        nodes,
        lines,
    )


def _corner(node: PlacedNode) -> tuple[float, float]:
    return MARGIN + node.column * (WIDTH + GAP_ACROSS), MARGIN + node.row * (HEIGHT + GAP_DOWN)


def _short(label: str) -> str:
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"


def _line(before: tuple[float, float], after: tuple[float, float]) -> str:
    x1, y1 = before[0] + WIDTH, before[1] + HEIGHT / 2
    x2, y2 = after[0], after[1] + HEIGHT / 2
    bend = max((x2 - x1) / 2, 16)
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"


def chart_data(chart: Chart) -> str:
    """Returns the values of a chart as JSON, for the script that draws it."""
    return json.dumps(
        {
            "unit": chart.unit,
            "times": list(chart.times),
            "series": [
                {"name": line.name, "values": list(line.values), "state": line.state} for line in chart.series
            ],
        }
    )


def chart_rows(chart: Chart) -> list[tuple[str, list[str]]]:
    """Returns the values of a chart as rows of a table, the newest first."""
    rows = [
        (
            f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}",
            ["-" if line.values[at] is None else f"{line.values[at]:,.4g}" for line in chart.series],
        )
        for at, moment in enumerate(chart.times)
    ]
    return rows[::-1]
