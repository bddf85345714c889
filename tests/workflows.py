"""Stores workflows for tests, runs their nodes by hand, and reads what became of them."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.worker_by_hand import Hand

DEAD = Outcome.dead("given_up", ValueError("no"))
# For each row: what is wrong with a node or a workflow. In a quiet database all of these are empty.
INVARIANTS = {
    "the counters of a node differ from what it waits for": """
        select n.id, n.unmet, c.open, n.failed, c.failed from pgqueue.nodes n
        cross join lateral (
            select count(*) filter (where b.state is null) as open, count(*) filter (where b.state <> 'completed') as failed
            from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id where d.node_id = n.id) c
        where (n.unmet, n.failed) is distinct from (c.open, c.failed) and not (n.is_gate and n.state = 'completed' and n.ended_at is null)""",
    "a job waits for nothing": """
        select j.id from pgqueue.jobs_live j left join pgqueue.nodes n on n.id = j.id
        where j.state = 'waiting' and j.waits_for is null and coalesce(n.unmet, 0) = 0""",
    "a node and its job differ in whether they have ended": """
        select n.id, n.state, j.state from pgqueue.nodes n left join pgqueue.jobs j on j.id = n.id
        where not n.is_gate and (n.state is null) <> (coalesce(j.state, 'none') in ('pending', 'running', 'retrying', 'waiting'))
           or n.state <> j.state""",
    "a node is open although all that it waits for has ended, and no worker can have it": """
        select n.id from pgqueue.nodes n where n.is_gate and n.state is null and n.unmet = 0""",
    "a node has two jobs": "select j.id from pgqueue.jobs j where j.workflow_id is not null group by j.id having count(*) > 1",
    "a node is left to the leader": "select u.node_id from pgqueue.unresolved u",
}


def node(name: str, *after: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "task": "t", **({"after": list(after)} if after else {}), **options}


def group(name: str, *members: str) -> dict[str, Any]:
    return {"name": name, "group": list(members)}


def store(db: Connection[Any], *nodes: dict[str, Any], name: str = "flow", **options: Any) -> int:
    """Stores a workflow, and returns its id."""
    return store_row(db, *nodes, name=name, **options)[0]


def store_row(
    db: Connection[Any], *nodes: dict[str, Any], name: str = "flow", **options: Any
) -> tuple[int, bool, list[int]]:
    """Stores a workflow, and returns its id, whether it is new, and the ids of its nodes."""
    [stored] = db.execute(
        "select id, created, node_ids from pgqueue.enqueue_workflow(%s)",
        [Jsonb({"name": name, "nodes": list(nodes), **options})],
    )
    return stored


def states(db: Connection[Any], workflow: int) -> dict[str, str]:
    """Returns the state of each node by its name."""
    rows = db.execute(
        "select name, state from pgqueue.workflow_nodes where workflow_id = %s order by rank", [workflow]
    )
    return dict(rows.fetchall())


def ids(db: Connection[Any], workflow: int) -> dict[str, int]:
    return dict(
        db.execute("select name, id from pgqueue.nodes where workflow_id = %s", [workflow]).fetchall()
    )


def overview(db: Connection[Any], workflow: int, columns: str = "state") -> Any:
    [found] = db.execute(
        f"select {columns} from pgqueue.workflow_overview where id = %s".encode(), [workflow]
    )
    return found[0] if len(found) == 1 else found


def run_due(
    db: Connection[Any], hand: Hand, outcomes: dict[str, Outcome] | None = None, workflow: int | None = None
) -> list[str]:
    """Runs all due nodes, and those that become due, until none is due. Returns their names in the order in which they ran.

    ``outcomes``: the outcomes of nodes that do not simply complete, by name.
    """
    ran = []
    while claimed := hand.claim():
        for attempt in claimed:
            [(name,)] = db.execute("select name from pgqueue.nodes where id = %s", [attempt.id])
            ran.append(name)
            assert hand.settle(attempt, (outcomes or {}).get(name, COMPLETED))
    return ran


def finish(db: Connection[Any]) -> int:
    """Does once what the leader does again and again. Returns how much it found to do."""
    run(db, statements.leave_parents(0, 1000))
    left = run(db, statements.choose_unresolved(1000))
    found = len(run(db, statements.resolve_again([one.id for one in left])))
    return found + stop(db)


def stop(db: Connection[Any]) -> int:
    """Cancels what is open of the workflows and batches that are being stopped, as the leader does. Returns in how many statements."""
    found = after = behind = 0
    while (finishing := run(db, statements.finish_workflow(after, behind, 5000))).workflow_id is not None:
        found += 1
        last = finishing.last
        after, behind = (finishing.workflow_id, 0) if last is None else (finishing.workflow_id - 1, last)
    return found


def violations(db: Connection[Any]) -> dict[str, list[Any]]:
    found = {what: db.execute(query.encode()).fetchall() for what, query in INVARIANTS.items()}
    return {what: rows for what, rows in found.items() if rows}
