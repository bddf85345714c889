"""Places the nodes of a workflow in columns: each node stands to the right of all that it waits for. Does no I/O.

The layout follows Sugiyama, Tagawa and Toda (1981): columns by the longest path, then a few rounds that move each node towards the mean of
its neighbours, so that lines cross less. A large workflow is drawn only in part, because nobody can read more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from pgqueue.database.statements.workflows import NodeRow
from pgqueue.ui.reading.asked import path_to
from pgqueue.ui.reading.page import Graph, PlacedNode, Query

MOST_NODES = 160
ROUNDS = 4
TALLEST = 24  # nodes of a column that are drawn


def graph(nodes: Sequence[NodeRow], query: Query) -> Graph:
    """Returns the drawing of at most MOST_NODES nodes, the first in the order of the workflow."""
    drawn, edges = _reduced(nodes)
    columns = _columns(drawn, edges)
    hidden = {node for column in columns.values() for node in column[TALLEST:]}
    places = _rows({number: column[:TALLEST] for number, column in columns.items()}, edges)
    shown = [_placed(node, *places[node.id]) for node in drawn if node.id in places]
    missing = len(nodes) - len(shown) - sum(node.gives is not None for node in nodes)
    pairs = [
        (str(before), str(after))
        for after, befores in edges.items()
        for before in befores
        if before in places and after in places and not {before, after} & hidden
    ]
    note = f"{missing:,} more nodes are in the table below." if missing > 0 else None
    return Graph(name="graph", title="Graph", nodes=shown, edges=pairs, note=note, query=query)


def _reduced(nodes: Sequence[NodeRow]) -> tuple[list[NodeRow], dict[int, list[int]]]:
    """Leaves out parts, which are gates that only spare edges: whatever waits for a part waits for its members."""
    by_id = {node.id: node for node in nodes}
    drawn = [node for node in nodes if node.gives != "members"][:MOST_NODES]
    known = {node.id for node in drawn}
    edges: dict[int, list[int]] = {}
    for node in drawn:
        found: dict[int, None] = {}
        stack, seen = list(node.after), set[int]()
        while stack:
            before = by_id.get(stack.pop())
            if before is None or before.id in seen:
                continue
            seen.add(before.id)
            if before.gives == "members":
                stack += before.after
            elif before.id in known:
                found[before.id] = None
        edges[node.id] = list(found)
    return drawn, edges


def _columns(drawn: Sequence[NodeRow], edges: dict[int, list[int]]) -> dict[int, list[int]]:
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError:  # no workflow can be stored with a cycle, but a person can write rows by hand
        order = [node.id for node in drawn]
    depth: dict[int, int] = {}
    for node in order:
        depth[node] = max((depth.get(before, 0) + 1 for before in edges[node]), default=0)
    columns: defaultdict[int, list[int]] = defaultdict(list)
    for one in drawn:
        columns[depth[one.id]].append(one.id)
    return dict(columns)


def _rows(columns: dict[int, list[int]], edges: dict[int, list[int]]) -> dict[int, tuple[int, float]]:
    """Returns the column and the row of each node."""
    afters: defaultdict[int, list[int]] = defaultdict(list)
    for after, befores in edges.items():
        for before in befores:
            afters[before].append(after)
    row = {node: float(number) for column in columns.values() for number, node in enumerate(column)}
    for turn in range(ROUNDS):
        near = edges if turn % 2 == 0 else afters
        for number in sorted(columns, reverse=bool(turn % 2)):
            column = columns[number]
            wanted = {
                node: _mean([row[other] for other in near.get(node, ()) if other in row], row[node])
                for node in column
            }
            column.sort(key=lambda node: (wanted[node], row[node]))
            for place, node in enumerate(column):
                row[node] = float(place)
    tallest = max((len(column) for column in columns.values()), default=1)
    return {
        node: (number, place + (tallest - len(column)) / 2)
        for number, column in columns.items()
        for place, node in enumerate(column)
    }


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _placed(node: NodeRow, column: int, row: float) -> PlacedNode:
    note = node.refusal or node.error
    return PlacedNode(
        id=str(node.id), label=node.name, state=node.state, column=column, row=row,
        to=None if node.is_gate else path_to("jobs", node.id),
        note=note.split("\n", 1)[0][:200] if note else ("waits for a signal: " + ", ".join(node.signals) if node.signals else node.task),
    )  # fmt: skip
