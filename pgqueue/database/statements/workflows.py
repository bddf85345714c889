"""The statements that maintain workflows. Jobs that end resolve their nodes in the statements that end them."""

from __future__ import annotations

from dataclasses import dataclass

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.sql import Statement

NodePosition = tuple[int, int]  # a workflow's id and a node's id


@dataclass(frozen=True, slots=True)
class MendedNodes:
    """``last``: the open node at which the statement stopped; None: there are no more. ``mended``: whether it ended that node."""

    last: NodePosition | None
    mended: bool


@dataclass(frozen=True, slots=True)
class HaltedNode:
    """An open node that nothing will end. ``fault``: miscounted, unreleased, jobless, left or stopping (find_halted_nodes.sql says which is what).

    ``unmet`` and ``failed`` are the right values of its counters.
    """

    fault: str
    workflow_id: int
    workflow: str
    id: int
    name: str
    unmet: int
    failed: int


def find_halted_nodes() -> Statement[list[HaltedNode]]:
    """Finds at most 20 open nodes that nothing will end or release."""
    return statement("find_halted_nodes", each(HaltedNode))


def resolve_again(count: int) -> Statement[int]:
    """Resolves nodes whose jobs were locked. Returns how many there were, at most ``count``."""
    return statement("resolve_again", one, count=count)


def finish_workflow(after: int) -> Statement[int | None]:
    """Cancels what is open of the next workflow that is being stopped. Returns its id; None: no such id is greater than ``after``."""
    return statement("finish_workflow", one, after=after)


def mend_nodes(after: NodePosition, count: int) -> Statement[MendedNodes]:
    """Looks at up to ``count`` open nodes after a position. Ends the first one whose job is gone."""
    return statement(
        "mend_nodes",
        lambda rows: MendedNodes(None if rows[0][1] is None else (rows[0][0], rows[0][1]), rows[0][2] > 0),
        workflow=after[0],
        node=after[1],
        count=count,
    )


def purge_workflows(count: int) -> Statement[int]:
    """Deletes nodes of workflows whose retention is over, and workflows without nodes. Returns how many rows it deleted."""
    return statement("purge_workflows", one, count=count)
