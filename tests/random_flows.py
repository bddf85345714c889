"""Random workflows, and a model that says how each of their nodes must end.

The model knows no locks and no counters: it looks at a graph and says for each node how it must end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]


@dataclass
class Flow:
    """A random workflow. ``fates``: how each job ends if it runs. ``doomed``: the nodes that a person cancels before they run."""

    nodes: list[Node]
    on_failure: str
    fates: dict[str, str]
    cancelled: set[str] = field(default_factory=set)

    def ends(self) -> dict[str, str]:
        """Returns the state in which each node must end."""
        found: dict[str, str] = {}
        for made in self.nodes:
            name, before = made["name"], [found[other] for other in made.get("after", made.get("group", []))]
            failed = any(state != "completed" for state in before)
            needs = made.get("when", "ended" if self.on_failure == "continue" else "completed")
            if "group" in made:
                found[name] = "dead" if failed else "completed"
            elif (
                name in self.cancelled
                or (needs == "completed" and failed)
                or (needs == "failed" and not failed)
            ):
                found[name] = "cancelled"
            else:
                found[name] = self.fates[name]
        return found

    def runs(self) -> set[str]:
        """Returns the nodes whose jobs must run, each exactly once."""
        jobless = {made["name"] for made in self.nodes if "group" in made}
        return {
            name
            for name, state in self.ends().items()
            if name not in jobless and name not in self.cancelled and self._is_allowed(name)
        }

    def _is_allowed(self, name: str) -> bool:
        ends = self.ends()
        made = next(made for made in self.nodes if made["name"] == name)
        failed = any(ends[other] != "completed" for other in made.get("after", []))
        needs = made.get("when", "ended" if self.on_failure == "continue" else "completed")
        return not (needs == "completed" and failed) and not (needs == "failed" and not failed)


def random_flow(chance: random.Random, size: int) -> Flow:
    """Returns a graph of one of several shapes: layers, chains, stars and anything in between."""
    width = chance.choice([1, 2, 5, 20, size])
    nodes: list[Node] = []
    fates = {}
    deadly = chance.choice([0.0, 0.05, 0.12, 0.5])
    for number in range(size):
        name = f"n{number}"
        near = [made["name"] for made in nodes[-width * 2 :]]
        count = min(len(near), chance.choice([0, 1, 1, 2, 3, 10]))
        before = chance.sample(near, count)
        if chance.random() < 0.1:
            nodes.append({"name": name, "group": before})
            continue
        made: Node = {"name": name, "task": "t", "after": before}
        if before and chance.random() < 0.2:
            made["when"] = chance.choice(["completed", "ended", "failed"])
        nodes.append(made)
        fates[name] = chance.choice(["dead", "cancelled"]) if chance.random() < deadly else "completed"
    jobs = [made["name"] for made in nodes if "task" in made and made["after"]]
    cancelled = set(chance.sample(jobs, min(len(jobs), chance.choice([0, 0, 1, 5]))))
    return Flow(nodes, chance.choice(["cancel", "continue"]), fates, cancelled)


def rename(flow: Flow, prefix: str) -> Flow:
    """Returns the flow with names that no other flow has."""
    nodes = [
        {key: (f"{prefix}{value}" if key == "name" else [f"{prefix}{name}" for name in value] if key in ("after", "group") else value)
         for key, value in made.items()}
        for made in flow.nodes
    ]  # fmt: skip
    fates = {f"{prefix}{name}": fate for name, fate in flow.fates.items()}
    return Flow(nodes, flow.on_failure, fates, {f"{prefix}{name}" for name in flow.cancelled})
