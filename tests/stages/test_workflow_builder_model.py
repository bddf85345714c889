"""Random workflows that are built in Python are stored like the same workflows in SQL, and end as a model says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, Node, Task, Workflow, WorkflowHandle
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.random_flows import Flow, random_flow
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, ids, run_due, states, stop, store, violations

OUTCOMES = {"completed": COMPLETED, "dead": DEAD, "cancelled": Outcome.cancelled("asked")}
STORED = """
select n.name, n.is_gate, n.needs, n.unmet, n.state, j.state, j.args, j.queue, j.max_attempts,
       array(select b.name from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id where d.node_id = n.id order by b.rank),
       (select jsonb_object_agg(f.key, b.name) from jsonb_each_text(n.fills) f join pgqueue.nodes b on b.id = f.value::bigint)
from pgqueue.nodes n left join pgqueue.jobs_live j on j.id = n.id where n.workflow_id = %s
"""


@pytest.fixture
def task(app: App) -> Task[..., Any]:
    @app.task(name="t")
    def t(**given: Any) -> None: ...

    return t


def with_results(flow: Flow, chance: random.Random) -> Flow:
    """Lets some nodes take results of those that they wait for."""
    for made in flow.nodes:
        if made.get("after") and chance.random() < 0.3:
            made["results"] = {f"r{n}": name for n, name in enumerate(made["after"]) if chance.random() < 0.5}
            made["args"] = {"own": chance.randint(1, 9)}
    return flow


def build(app: App, task: Task[..., Any], flow: Flow, chance: random.Random | None = None) -> WorkflowHandle:
    """Builds the flow by nodes or, with ``chance``, adds the nodes in any order and names what they wait for."""
    known: dict[str, Node] = {}
    nodes = flow.nodes if chance is None else chance.sample(flow.nodes, len(flow.nodes))
    with app.workflow("built", on_failure=flow.on_failure) as w:  # type: ignore[arg-type]
        for made in nodes:
            known[made["name"]] = add(w, task, made, known if chance is None else None)
    return w.handle


def add(w: Workflow, task: Task[..., Any], made: dict[str, Any], known: dict[str, Node] | None) -> Node:
    if "group" in made:
        return w.gate([known[name] if known else name for name in made["group"]], name=made["name"])
    taken = (
        {argument: known[name].result for argument, name in made.get("results", {}).items()} if known else {}
    )
    job = task.job(**made.get("args", {}), **taken)
    after = [known[name] if known else name for name in made["after"]]
    return w.add(job, name=made["name"], after=after, when=made.get("when"))


@pytest.mark.parametrize("seed", range(10))
def test_random_workflows_are_stored_as_by_sql_and_end_as_the_model_says(
    app: App, db: Connection[Any], task: Task[..., Any], seed: int
) -> None:
    chance = random.Random(f"built {seed}")
    flow = random_flow(chance, chance.choice([1, 10, 60, 200]))
    flow.cancelled = set()
    shuffled = build(app, task, flow, chance)
    with_results(flow, chance)
    built = build(app, task, flow).id
    options = {"queue": "default", "max_attempts": 6}
    nodes = [made if "group" in made else {**options, **made} for made in flow.nodes]
    by_sql = store(db, *nodes, on_failure=flow.on_failure)
    rows = [db.execute(STORED + "order by n.rank", [flow_id]).fetchall() for flow_id in (built, by_sql)]
    assert rows[0] == rows[1]
    other = {row[0]: (row[1:5], set(row[9])) for row in db.execute(STORED, [shuffled.id])}
    assert other == {row[0]: (row[1:5], set(row[9])) for row in rows[0]}

    names = {job: name for flow_id in (built, by_sql, shuffled.id) for name, job in ids(db, flow_id).items()}
    hand = Hand(db, ["t"])
    ran = run_due(db, hand, {name: OUTCOMES[fate] for name, fate in flow.fates.items()})
    assert sorted(ran) == sorted([*flow.runs()] * 3)
    for flow_id in (built, by_sql, shuffled.id):
        assert states(db, flow_id) == flow.ends()
    assert violations(db) == {}
    assert set(names.values()) == set(flow.ends())


@pytest.mark.parametrize("seed", range(4))
def test_random_workflows_of_python_complete_after_a_cancel_and_retries(
    app: App, db: Connection[Any], task: Task[..., Any], seed: int
) -> None:
    chance = random.Random(f"retried {seed}")
    flow = with_results(random_flow(chance, 60), chance)
    flow.cancelled = set()
    handle = build(app, task, flow)
    hand = Hand(db, ["t"])
    for attempt in hand.claim(chance.randint(0, 5)):
        hand.settle(attempt, OUTCOMES[chance.choice(list(OUTCOMES))])
    handle.cancel()
    assert run_due(db, hand) == []
    stop(db)
    # Nodes that run only after a failure are not needed in the end, because everything completes when it is retried.
    for _ in range(len(flow.nodes)):
        if handle.retry() == 0 or not run_due(db, hand):
            break
    needless = {
        name for name, needs in db.execute("select name, needs from pgqueue.nodes") if needs == "failed"
    }
    left = {name for name, state in states(db, handle.id).items() if state != "completed"}
    behind = {made["name"] for made in flow.nodes if {*made.get("after", []), *made.get("group", [])} & left}
    assert left <= needless | behind
    assert violations(db) == {}
