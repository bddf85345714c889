"""Arranges the nodes of a stored workflow for the terminal: which stand inside which group, and which follow which. Does no I/O.

A graph is not a tree. So a node that waits for several others is shown below the last of them, and its line names the others. What stands
inside a group is a level of its own, which is arranged in the same way. Nothing here recurses, because a chain can have 20,000 nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pgqueue.database.statements.workflows import NodeRow


@dataclass(eq=False, slots=True)
class Item:
    """A node of a level. ``inside``: the first items of the level inside it, if it is a group. ``followers``: what is shown below it."""

    node: NodeRow
    inside: list[Item] = field(default_factory=list)
    followers: list[Item] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # the names of what it waits for, too
    jobs: Counter[str] = field(
        default_factory=Counter
    )  # of a group: how many jobs inside it are in which state


def arranged(nodes: Iterable[NodeRow]) -> list[Item]:
    """Returns the first items of the outermost level."""
    items = {node.id: Item(node) for node in nodes}
    befores = {
        node_id: list(_befores(node_id, items)) for node_id, item in items.items() if not _is_part(item)
    }
    owners = _owners(items, befores)
    last: dict[int, int] = {}  # for each node: the one below which it is shown
    others: dict[int, dict[int, None]] = {node_id: {} for node_id in befores}
    for node_id, found in befores.items():
        for before in found:
            upper, lower = _on_one_level(before, node_id, owners)
            if upper != lower:
                others[lower][upper] = None
                last[lower] = max(last.get(lower, 0), upper)
    top: list[Item] = []
    for node_id in sorted(befores, key=lambda one: min([one, *befores[one][:1]])):
        item, owner = items[node_id], owners.get(node_id)
        item.others = [items[one].node.name for one in others[node_id] if one != last.get(node_id)]
        if node_id in last:
            items[last[node_id]].followers.append(item)
        else:
            (top if owner is None else items[owner].inside).append(item)
    _count(items, befores, owners)
    return top


def _is_part(item: Item) -> bool:
    return item.node.gives == "members"


def _befores(node_id: int, items: dict[int, Item]) -> Iterator[int]:
    """Yields what a node waits for. In place of a part, yields its members."""
    stack = items[node_id].node.after[::-1]
    while stack:
        before = stack.pop()
        if before not in items:
            continue
        if _is_part(items[before]):
            stack += items[before].node.after[::-1]
        else:
            yield before


def _owners(items: dict[int, Item], befores: dict[int, list[int]]) -> dict[int, int]:
    """Returns, for each node inside a group, the innermost group: the node ends only in it, or a later node of the group waits only for it."""
    afters: dict[int, list[int]] = {}
    for node_id, found in befores.items():
        for before in found:
            afters.setdefault(before, []).append(node_id)
    owners: dict[int, int] = {}
    for node_id in sorted(befores, reverse=True):
        waiting = afters.get(node_id, [])
        around = {owners.get(after) for after in waiting}
        if len(waiting) == 1 and _is_group(items[waiting[0]]):
            owners[node_id] = waiting[0]
        elif len(around) == 1 and (owner := around.pop()) is not None:
            if (
                len(waiting) > 1
            ):  # they are a group of their own, which stands in the same group as this node, if in any
                owner = owners.get(owner)
            if owner is not None and len(befores[owner]) > 1:
                owners[node_id] = owner
    return owners


def _is_group(item: Item) -> bool:
    return item.node.is_gate and item.node.gives is None


def _chain_of(node_id: int, owners: dict[int, int]) -> list[int]:
    """Returns the node and the groups around it, the outermost first."""
    found = [node_id]
    while found[-1] in owners:
        found.append(owners[found[-1]])
    return found[::-1]


def _on_one_level(before: int, node_id: int, owners: dict[int, int]) -> tuple[int, int]:
    """Returns the two nodes, or the groups around them, that stand on the same level."""
    if owners.get(before) == owners.get(node_id):
        return before, node_id
    for one, two in zip(_chain_of(before, owners), _chain_of(node_id, owners), strict=False):
        if one != two:
            return one, two
    return before, before  # one of the two stands inside the other


def _count(items: dict[int, Item], befores: dict[int, list[int]], owners: dict[int, int]) -> None:
    for node_id in befores:
        if not items[node_id].node.is_gate:
            for owner in _chain_of(node_id, owners)[:-1]:
                items[owner].jobs[items[node_id].node.state] += 1
