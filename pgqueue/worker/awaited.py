"""Finds the jobs for which a node of a workflow has waited, and reads how they ended. A gate among them stands for what it waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pgqueue.database import statements
from pgqueue.database.flows import Flow
from pgqueue.database.statements.workflows import AwaitedNode
from pgqueue.model.nodes import RESULTS_AT_ONCE, NodeEnd


def awaited(node_id: int) -> Flow[list[int]]:
    """Returns the ids of the jobs for which a node has waited, in the order of the workflow."""
    edges: list[AwaitedNode] = yield statements.list_awaited(node_id)
    return jobs_behind(node_id, edges)


def jobs_behind(node_id: int, edges: Iterable[AwaitedNode]) -> list[int]:
    """Returns the jobs to which these edges lead from a node, each once. In place of a gate, returns the jobs to which its edges lead."""
    befores: dict[int, list[AwaitedNode]] = {}
    for edge in edges:
        befores.setdefault(edge.node_id, []).append(edge)
    found: dict[int, None] = {}
    seen: set[int] = set()
    stack = befores.get(node_id, [])[::-1]
    while stack:
        edge = stack.pop()
        if not edge.is_gate:
            found[edge.on_id] = None
        elif edge.on_id not in seen:
            seen.add(edge.on_id)
            if edge.gives != "nothing":
                stack += befores.get(edge.on_id, [])[::-1]
    return list(found)


def pages(node_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(node_ids), RESULTS_AT_ONCE):
        yield node_ids[at : at + RESULTS_AT_ONCE]


def read_ends(node_ids: Sequence[int]) -> Flow[list[NodeEnd]]:
    found: list[NodeEnd] = yield statements.read_ends(node_ids)
    return found


def in_order(node_ids: Sequence[int], ends: Iterable[NodeEnd]) -> Iterator[NodeEnd]:
    """Yields the ends in the order of ``node_ids``."""
    by_id = {end.id: end for end in ends}
    return (by_id[node_id] for node_id in node_ids if node_id in by_id)
