"""The statements that store, read, change and maintain workflows. Jobs that end resolve their nodes in the statements that end them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import NamedTuple

from pgqueue.database.statements.decoding import array, column, each, nothing, one, pair, plain, statement
from pgqueue.database.statements.masking import each_shown
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.nodes import NodeEnd
from pgqueue.sql import Row, Statement

NodePosition = tuple[int, int]  # a workflow's id and a node's id


@dataclass(frozen=True, slots=True)
class MendedNodes:
    """``last``: the node at which the statement stopped; None: there are no more. ``mended``: whether it ended that node."""

    last: NodePosition | None
    mended: bool


@dataclass(frozen=True, slots=True)
class HaltedNode:
    """A node that nothing will end or release. ``fault``: miscounted, unreleased, refused, jobless, left or stopping.

    find_halted_nodes.sql explains these words. ``unmet`` and ``failed`` are the right values of its counters. ``error``: why it was refused.
    """

    fault: str
    workflow_id: int
    workflow: str
    id: int
    name: str
    unmet: int
    failed: int
    error: str | None


def find_halted_nodes() -> Statement[list[HaltedNode]]:
    """Finds at most 20 open nodes that nothing will end or release."""
    return statement("find_halted_nodes", each(HaltedNode))


class StoredWorkflow(NamedTuple):
    """A workflow that ``enqueue_workflow`` has stored, or that already had the key. ``xid``: the transaction; ``moment``: its time."""

    id: int
    created: bool
    node_ids: list[int]
    xid: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class WorkflowProgress:
    """How a workflow goes. ``state``: running, stopping, completed, failed, cancelled, undoing, undone or undo_failed.

    ``counts``: the number of jobs in each state, of ``nodes`` jobs in all. ``ended_at`` is None as long as a job is open.
    """

    id: int
    name: str
    key: str | None
    state: str
    on_failure: str
    nodes: int
    created_at: datetime
    ended_at: datetime | None
    counts: dict[str, int]
    last_open: int | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        return self.state not in ("running", "stopping", "undoing")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFilter:
    """Chooses the workflows that fit every field that is not None."""

    states: list[str] | None = None
    name: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A workflow as ``list_workflows`` shows it, with the number of jobs that are open, completed, dead and cancelled."""

    id: int
    name: str
    key: str | None
    state: str
    on_failure: str
    nodes: int
    open: int
    completed: int
    dead: int
    cancelled: int
    created_at: datetime
    ended_at: datetime | None


class NodeRow(NamedTuple):
    """A node of a stored workflow, as ``pgq workflows show`` draws it.

    ``refusal``: why the database refuses to go on with it.
    ``signals``: the names of the signals for one of which its job waits. ``after``: the ids of the nodes that it waits for.
    """

    id: int
    name: str
    task: str | None
    state: str
    is_gate: bool
    gives: str | None
    needs: str
    error: str | None
    refusal: str | None
    is_undo: bool
    signals: list[str] | None
    after: list[int]


class AwaitedNode(NamedTuple):
    """Node ``node_id`` waits for node ``on_id``. ``gives``: what that gate gives to a list that it is a part of."""

    node_id: int
    on_id: int
    is_gate: bool
    gives: str | None


def _ids(text: str) -> list[int]:
    return [int(number) for number in text[1:-1].split(",") if number]


def _end(node_id: int, name: str, state: str, result: str | None, error: str | None) -> NodeEnd:
    return NodeEnd(node_id, name, state, plain(result), error)


def _progress(rows: Sequence[Row]) -> WorkflowProgress | None:
    if not rows:
        return None
    number, name, key, state, on_failure, nodes, created_at, ended_at, counts, last_open = rows[0]
    return WorkflowProgress(
        number, name, key, state, on_failure, nodes, created_at, ended_at, plain(counts), last_open
    )


def enqueue_workflow(workflow: str) -> Statement[StoredWorkflow]:
    """Stores a workflow with all its nodes. ``workflow`` is the JSON text that functions/enqueue_workflow.sql describes."""
    return statement(
        "enqueue_workflow",
        lambda rows: StoredWorkflow._make([*rows[0][:2], _ids(rows[0][2]), *rows[0][3:]]),
        workflow=workflow,
    )


def find_stored_workflow(stored: StoredWorkflow) -> Statement[bool | None]:
    """Returns whether the transaction that stored this workflow was committed; None: it still runs, or the server does not know."""
    return statement(
        "find_stored_workflow", one, workflow_id=stored.id, xid=stored.xid, began_at=stored.moment
    )


def get_workflow(workflow_id: int) -> Statement[WorkflowProgress | None]:
    return statement("get_workflow", _progress, workflow_id=workflow_id)


def list_workflows(
    which: WorkflowFilter = WorkflowFilter(), *, before: int | None = None, count: int = 50
) -> Statement[list[WorkflowRow]]:
    return statement("list_workflows", each(WorkflowRow), **asdict(which), before=before, count=count)


def list_nodes(workflow_id: int) -> Statement[list[NodeRow]]:
    """Returns all nodes of a workflow in order, groups included. Secret values of their jobs are masked in errors."""
    shown = each_shown(NodeRow, "error", "refusal")
    return statement(
        "list_nodes",
        lambda rows: [node._replace(after=_ids(str(node.after))) for node in shown(rows)],
        workflow_id=workflow_id,
    )


def find_node(workflow_id: int, name: str) -> Statement[tuple[int, bool] | None]:
    """Returns (id, whether it is a gate) of the node with this name."""
    return statement("find_node", pair, workflow_id=workflow_id, name=name)


def list_awaited(node_id: int) -> Statement[list[AwaitedNode]]:
    """Returns the edges that lead to a node, and those that lead to the gates among what it waits for."""
    return statement("list_awaited", each(AwaitedNode), node_id=node_id)


def read_ends(node_ids: Iterable[int]) -> Statement[list[NodeEnd]]:
    """Returns how these nodes ended, in any order."""
    return statement("read_ends", each(_end), node_ids=array(node_ids))


def list_ends(workflow_id: int, *, after: int | None, count: int) -> Statement[list[NodeEnd]]:
    """Returns how up to ``count`` nodes of a workflow ended, in order, those that come after the node ``after``."""
    return statement("list_ends", each(_end), workflow_id=workflow_id, after=after, count=count)


def cancel_workflow(workflow_id: int, *, who: Who | None = None) -> Statement[str | None]:
    return noted("cancel_workflow", who, one, workflow_id=workflow_id)


def retry_workflow(
    workflow_id: int, node: str | None, *, again: bool = False, who: Who | None = None
) -> Statement[int]:
    """``again``: also if the node has completed."""
    return noted("retry_workflow", who, one, workflow_id=workflow_id, node=node, again=again)


def adopt_children(workflow_id: int, job_id: int) -> Statement[int]:
    """Marks a workflow that this transaction has stored as the children of a job."""
    return statement("adopt_children", one, workflow_id=workflow_id, job_id=job_id)


def leave_parents(after: int, count: int) -> Statement[int | None]:
    """Stops children whose parent has ended. Looks at up to ``count`` workflows of children with a larger id than ``after``.

    Returns the largest id that it looked at; None: there are no more.
    """
    return statement("leave_parents", one, after=after, count=count)


class LeftWork(NamedTuple):
    """Whether the leader has nodes to resolve, children whose parents it must look for, and workflows to stop."""

    has_unresolved: bool
    has_children: bool
    has_stopping: bool


def find_left_work() -> Statement[LeftWork]:
    return statement("find_left_work", lambda rows: LeftWork._make(rows[0]))


class Unresolved(NamedTuple):
    """A row that says that the leader must look again at a node. A node can have several.

    ``refusal``: why the database has refused to go on with the node. None: it has not refused.
    """

    id: int
    node_id: int
    refusal: str | None


def choose_unresolved(count: int) -> Statement[list[Unresolved]]:
    """Finds the rows of nodes at which the leader must look again: up to ``count`` without a refusal, then up to ``count`` with one."""
    return statement("choose_unresolved", each(Unresolved), count=count)


def resolve_again(ids: Sequence[int]) -> Statement[list[int]]:
    """Resolves the nodes of these rows, which then are gone. Returns the ids of the rows, without those that are locked."""
    return statement("resolve_again", column, ids=array(ids))


def put_off_unresolved(id_: int, error: str) -> Statement[None]:
    """Gives this row the error and another id, so that ``choose_unresolved`` returns others first."""
    return statement("put_off_unresolved", nothing, unresolved_id=id_, error=error)


def find_stopping(after: int) -> Statement[int | None]:
    """Finds the workflow that ``finish_workflow`` would stop. Returns its id; None: there is none."""
    return statement("find_stopping", one, after=after)


def find_jobless(after: NodePosition, count: int) -> Statement[NodePosition | None]:
    """Finds the node that ``mend_nodes`` would end. Returns the id of its workflow and its id; None: there is none."""
    return statement("find_jobless", pair, node=after[1], count=count)


class Finishing(NamedTuple):
    """How far a workflow has been stopped, or None for ``workflow_id`` if no workflow is being stopped.

    ``last``: the last node that was tried; None: all were tried. ``error``: why the database refused to cancel some jobs.
    """

    workflow_id: int | None
    last: int | None
    error: str | None


def finish_workflow(after: int, behind: int, at_most: int) -> Statement[Finishing]:
    """Cancels what is open of the first workflow with an id greater than ``after`` that is being stopped.

    Begins behind the node ``behind``. Of a batch, cancels at most ``at_most`` jobs.
    """
    return statement(
        "finish_workflow", lambda rows: Finishing._make(rows[0]), after=after, behind=behind, at_most=at_most
    )


def mend_nodes(after: NodePosition, count: int) -> Statement[MendedNodes]:
    """Looks at up to ``count`` nodes after a position. Ends the first open one whose job is gone."""
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
