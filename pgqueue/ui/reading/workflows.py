"""The pages of workflows and batches: lists, and one of them with its nodes and how they go."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.statements import WorkflowFilter
from pgqueue.database.statements.batches import BATCH_STATES, BatchProgress
from pgqueue.database.statements.workflows import NodeRow, WorkflowProgress
from pgqueue.errors import BatchNotFoundError, WorkflowNotFoundError
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.graph import graph
from pgqueue.ui.reading.page import Action, Block, Column, Count, Fact, Facts, Page, Row, Table, Tile, Tiles
from pgqueue.ui.reading.reader import Reader, shown

ROWS = 50
MOST_NODES = 500  # nodes in the table of a workflow
STATES = ("running", "stopping", "completed", "failed", "cancelled", "undoing", "undone", "undo_failed")


async def workflows(reader: Reader, asked: Asked) -> Page:
    before = asked.number("before")
    state = asked.query.get("state")
    which = WorkflowFilter(states=[state] if state in STATES else None, name=asked.query.get("name"))
    statement = statements.list_workflows(which, before=before, count=ROWS)
    found = await reader.ask(statement)
    table = Table(
        name="workflows", title="Workflows", empty="There is no workflow yet.", query=shown(statement, "pgq workflows list"),
        columns=(
            Column("id", "Workflow", "id", "/workflows/{id}"), Column("state", "State", "state"), Column("name", "Name", "code"),
            Column("done", "Done", "share"), Column("nodes", "Jobs", "number"), Column("open", "Open", "number"),
            Column("completed", "Completed", "number"), Column("dead", "Dead", "number"), Column("cancelled", "Cancelled", "number"),
            Column("created_at", "Enqueued", "time"), Column("took", "Took", "duration"),
        ),
        rows=[
            {"id": one.id, "state": one.state, "name": one.name, "done": 1 - one.open / one.nodes if one.nodes else None, "nodes": one.nodes,
             "open": one.open, "completed": one.completed, "dead": one.dead, "cancelled": one.cancelled, "created_at": one.created_at,
             "took": (one.ended_at - one.created_at).total_seconds() if one.ended_at else None}
            for one in found
        ],
        older=path_to("workflows", before=found[-1].id, state=state, name=asked.query.get("name")) if len(found) == ROWS else None,
        newest=path_to("workflows", state=state) if before else None,
    )  # fmt: skip
    return Page(name="workflows", title="Workflows", path=path_to("workflows"), blocks=[table])


async def workflow(reader: Reader, asked: Asked) -> Page:
    number = asked.id("workflow", "workflow")
    progress = await reader.ask(statements.get_workflow(number))
    if progress is None:
        raise WorkflowNotFoundError(number)
    listing = statements.list_nodes(number)
    nodes = await reader.ask(listing)
    query = shown(listing, f"pgq workflows show {number}")
    jobs = [node for node in nodes if node.gives != "members"]
    blocks: list[Block] = [
        _counts(progress),
        graph(nodes, query),
        _facts(progress),
        Table(
            name="nodes", title="Nodes", empty="It has no nodes.", query=query, rows=[_node(node) for node in jobs[:MOST_NODES]],
            columns=(
                Column("id", "Job", "id", "/jobs/{id}"), Column("name", "Node", "code"), Column("state", "State", "state"),
                Column("task", "Task", "code"), Column("needs", "Needs"), Column("said", "Note", "text"),
            ),
            note=f"The first {MOST_NODES} of {len(jobs):,} nodes." if len(jobs) > MOST_NODES else None,
        ),
    ]  # fmt: skip
    fields = {"workflow": str(number)}
    actions = [Action("retry_workflow", fields)]
    if not progress.is_over:
        actions = [Action("cancel_workflow", fields)]
    elif progress.state == "completed":
        actions = []
    return Page(
        name="workflow", title=progress.name, path=path_to("workflows", number), blocks=blocks, above=("Workflows", path_to("workflows")),
        actions=actions, state=progress.state, subtitle=f"workflow {number}",
    )  # fmt: skip


def _counts(progress: WorkflowProgress) -> Tiles:
    order = ("running", "pending", "retrying", "waiting", "completed", "dead", "cancelled")
    shown_states = [state for state in order if progress.counts.get(state)]
    return Tiles(
        name="counts", title="Jobs",
        items=[
            *(Tile(state, state.capitalize(), Count(progress.counts[state]), state=state) for state in shown_states),
            Tile("nodes", "In all", Count(progress.nodes)),
        ],
    )  # fmt: skip


def _facts(progress: WorkflowProgress) -> Facts:
    took = (progress.ended_at - progress.created_at).total_seconds() if progress.ended_at else None
    return Facts(
        name="workflow", title="Workflow",
        items=[
            Fact("key", "Key", progress.key, "code"),
            Fact("on_failure", "If a node fails", progress.on_failure),
            Fact("created_at", "Enqueued", progress.created_at, "time"),
            Fact("ended_at", "Ended", progress.ended_at, "time"),
            Fact("took", "Took", took, "duration"),
        ],
    )  # fmt: skip


def _node(node: NodeRow) -> Row:
    note = node.refusal or node.error
    return {
        "id": None if node.is_gate else node.id,
        "name": node.name,
        "state": node.state,
        "task": node.task,
        "needs": node.needs,
        "said": note.split("\n", 1)[0][:200] if note else ", ".join(node.signals or ()) or None,
    }


async def batches(reader: Reader, asked: Asked) -> Page:
    before = asked.number("before")
    state = asked.query.get("state")
    statement = statements.list_batches(
        name=None, state=state if state in BATCH_STATES else None, before=before, count=ROWS
    )
    found = await reader.ask(statement)
    table = Table(
        name="batches", title="Batches", columns=BATCHES, rows=[_batch(one) for one in found], empty="There is no batch yet.",
        query=shown(statement, "pgq batches list"), older=path_to("batches", before=found[-1].id, state=state) if len(found) == ROWS else None,
        newest=path_to("batches", state=state) if before else None,
    )  # fmt: skip
    return Page(name="batches", title="Batches", path=path_to("batches"), blocks=[table])


BATCHES = (
    Column("id", "Batch", "id", "/batches/{id}"),
    Column("state", "State", "state"),
    Column("name", "Name", "code"),
    Column("done", "Done", "share"),
    Column("jobs", "Jobs", "number"),
    Column("unfinished", "Unfinished", "number"),
    Column("failed", "Failed", "number"),
    Column("created_at", "Begun", "time"),
    Column("took", "Took", "duration"),
)


def _batch(one: BatchProgress) -> Row:
    return {
        "id": one.id,
        "state": one.state,
        "name": one.name,
        "done": 1 - one.unfinished / one.jobs if one.jobs else None,
        "jobs": one.jobs,
        "unfinished": one.unfinished,
        "failed": one.failed,
        "created_at": one.created_at,
        "took": (one.ended_at - one.created_at).total_seconds() if one.ended_at else None,
    }


async def batch(reader: Reader, asked: Asked) -> Page:
    number = asked.id("batch", "batch")
    statement = statements.get_batch(number)
    found = await reader.ask(statement)
    if found is None:
        raise BatchNotFoundError(number)
    follow_ups = statements.list_follow_ups(number)
    stored = await reader.ask(follow_ups)
    blocks: list[Block] = [
        Tiles(
            name="counts", title="Jobs", query=shown(statement, f"pgq batches show {number}"),
            items=[
                Tile("unfinished", "Unfinished", Count(found.unfinished), state="running"),
                Tile("completed", "Completed", Count(found.completed), state="completed"),
                Tile("failed", "Failed", Count(found.failed), state="dead"),
                Tile("jobs", "In all", Count(found.jobs), to=path_to("jobs", q=f"workflow:{number}")),
            ],
        ),
        Facts(
            name="batch", title="Batch",
            items=[
                Fact("key", "Key", found.key, "code"),
                Fact("at_once", "At most at once", found.at_once, "number"),
                Fact("created_at", "Begun", found.created_at, "time"),
                Fact("sealed_at", "Sealed", found.sealed_at, "time"),
                Fact("ended_at", "Ended", found.ended_at, "time"),
            ],
        ),
        Table(
            name="follow_ups", title="Jobs that followed", empty="No job has followed yet.", query=shown(follow_ups),
            columns=(Column("id", "Job", "id", "/jobs/{id}"), Column("name", "On"), Column("state", "State", "state")),
            rows=[{"id": one.job_id, "name": one.name, "state": one.state} for one in stored],
        ),
    ]  # fmt: skip
    fields = {"batch": str(number)}
    actions = [Action("retry_batch", fields)] if found.failed else []
    if not found.is_over:
        actions.append(Action("cancel_batch", fields))
    return Page(
        name="batch", title=found.name, path=path_to("batches", number), blocks=blocks, above=("Batches", path_to("batches")),
        actions=actions, state=found.state, subtitle=f"batch {number}",
    )  # fmt: skip
