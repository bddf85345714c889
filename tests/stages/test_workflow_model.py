"""Random workflows, run by several connections at once, end as a model in Python says.

The model knows no locks and no counters: it looks at a graph and says for each node how it must end. The runs have random failures, retries
of attempts, cancels of single nodes, transactions that are rolled back, and settlings of several nodes in one statement.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.sql import Statement
from tests.random_flows import Flow, random_flow, rename
from tests.waiting import wait_until
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish, ids, states, store, violations

CONNECTIONS = 4
CANCELLED = Outcome.cancelled("asked")


OUTCOMES = {"completed": COMPLETED, "dead": DEAD, "cancelled": CANCELLED}


class Worker:
    """Claims and settles nodes on a connection of its own. Now and then rolls back, and tries an attempt again."""

    def __init__(
        self, db: Connection[Any], chance: random.Random, names: dict[int, str], flows: list[Flow]
    ) -> None:
        self.db, self.chance, self.names = db, chance, names
        self.hand = Hand(db, ["t"])
        self.fates = {name: OUTCOMES[fate] for flow in flows for name, fate in flow.fates.items()}
        self.settled: Counter[str] = Counter()
        self.open: list[tuple[int, int]] = []

    def turn(self) -> bool:
        """Settles some nodes. Returns whether there were any."""
        self.open += [(a.id, a.lease_id) for a in self.hand.claim(self.chance.choice([1, 3, 20]))]
        if not self.open:
            return False
        part = sorted(self.chance.sample(self.open, self.chance.randint(1, min(len(self.open), 10))))
        outcomes = [
            (
                job,
                lease,
                Outcome.retried(0.0, ValueError("again"))
                if self.chance.random() < 0.1
                else self.fates[self.names[job]],
            )
            for job, lease in part
        ]
        completed = [item for item in outcomes if item[2] is COMPLETED]
        if self.chance.random() < 0.7:
            nodes = [(job, lease, True, None) for job, lease, _ in completed]
            self._write(statements.complete_nodes(self.hand.id, nodes), completed)
            outcomes = [item for item in outcomes if item[2] is not COMPLETED]
        self._write(statements.settle(self.hand.id, outcomes), outcomes)
        return True

    def _write(self, statement: Statement[list[int]], outcomes: list[tuple[int, int, Outcome]]) -> None:
        with self.db.transaction():
            assert len(run(self.db, statement)) == len(outcomes)
            if self.chance.random() < 0.1:
                raise psycopg.Rollback
            self.settled.update(
                self.names[job] for job, _, outcome in outcomes if outcome.state != "retrying"
            )
            written = {job for job, _, _ in outcomes}
            self.open = [item for item in self.open if item[0] not in written]


@pytest.mark.parametrize("seed", range(12))
def test_random_workflows_end_as_the_model_says_and_run_each_node_once(
    db: Connection[Any], connect: Callable[..., Connection[Any]], seed: int
) -> None:
    chance = random.Random(seed)
    flows = [rename(random_flow(chance, chance.choice([1, 10, 60, 200])), f"f{n}.") for n in range(3)]
    stored = [store(db, *flow.nodes, on_failure=flow.on_failure) for flow in flows]
    names = {job: name for flow in stored for name, job in ids(db, flow).items()}
    numbers = {name: job for job, name in names.items()}
    for flow in flows:
        # These cancels come before any node runs, so the model is exact.
        for name in sorted(flow.cancelled):
            run(db, statements.cancel(numbers[name]))
    workers = [Worker(connect(), random.Random(f"{seed} {n}"), names, flows) for n in range(CONNECTIONS)]

    def work(worker: Worker) -> None:
        def is_over() -> bool:
            while worker.turn():
                pass
            return db_is_quiet(worker.db)

        wait_until(is_over, 60)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, workers))
    finish(db)
    for flow, number in zip(flows, stored, strict=True):
        found, expected = states(db, number), flow.ends()
        wrong = {
            n["name"]: (n, found[n["name"]], expected[n["name"]])
            for n in flow.nodes
            if found[n["name"]] != expected[n["name"]]
        }
        assert not wrong, (
            flow.on_failure,
            wrong,
            [
                n
                for n in flow.nodes
                if n["name"] in [x for w in wrong.values() for x in w[0].get("after", w[0].get("group"))]
            ],
            flow.cancelled,
            expected,
        )
    settled = sum((worker.settled for worker in workers), Counter[str]())
    assert settled == Counter({name: 1 for flow in flows for name in flow.runs()})
    assert violations(db) == {}


def db_is_quiet(db: Connection[Any]) -> bool:
    [(open_jobs,)] = db.execute("select count(*) from pgqueue.jobs_live where workflow_id is not null")
    return not open_jobs


WRONG_ENDS = """
select n.name, n.state, b.name, b.state from pgqueue.nodes n
join pgqueue.dependencies d on d.node_id = n.id join pgqueue.nodes b on b.id = d.on_id
where n.needs = 'completed' and not n.is_gate and b.state <> 'completed' and n.state <> 'cancelled'
   or n.is_gate and n.state = 'completed' and b.state <> 'completed'
"""


@pytest.mark.parametrize("seed", range(8))
def test_random_workflows_under_cancels_edits_stops_and_retries_end_and_keep_their_counters(
    db: Connection[Any], connect: Callable[..., Connection[Any]], seed: int
) -> None:
    """No model can say how these end, because it depends on the order of acts. But no node runs against its policy, and all end."""
    chance = random.Random(seed)
    flows = [rename(random_flow(chance, chance.choice([10, 60, 200])), f"f{n}.") for n in range(4)]
    stored = [
        store(db, *flow.nodes, on_failure=chance.choice(["cancel", "stop", "continue"])) for flow in flows
    ]
    names = {job: name for flow in stored for name, job in ids(db, flow).items()}
    workers = [Worker(connect(), random.Random(f"{seed} {n}"), names, flows) for n in range(CONNECTIONS)]
    acts = [
        "cancel_workflow(%(flow)s)",
        "retry_workflow(%(flow)s)",
        "cancel(%(job)s)",
        "finish_workflow(0, 0, 5000)",
    ]

    def disturb(number: int) -> None:
        other, own = connect(autocommit=False), random.Random(f"{seed} other {number}")
        for _ in range(25):
            job = own.choice(list(names))
            act = own.choice([*acts, *acts[2:] * 3, "edit(%(job)s, '{\"priority\": 0}')"])
            other.execute(f"select pgqueue.{act}".encode(), {"flow": own.choice(stored), "job": job})
            if own.random() < 0.1:
                other.rollback()
            other.commit()
        other.close()

    def work(worker: Worker) -> None:
        def is_over() -> bool:
            while worker.turn():
                pass
            finish(worker.db)
            run(worker.db, statements.finish_overdue(100))  # jobs asked to stop while their attempt ended
            return db_is_quiet(worker.db)

        wait_until(is_over, 60)

    with ThreadPoolExecutor(CONNECTIONS + 2) as pool:
        disturbances = [pool.submit(disturb, number) for number in range(2)]
        for done in [*[pool.submit(work, worker) for worker in workers], *disturbances]:
            done.result()
    wait_until(lambda: not any(worker.turn() for worker in workers) and not finish(db))
    assert violations(db) == {}
    assert db.execute(WRONG_ENDS).fetchall() == []
    assert set(db.execute("select distinct state from pgqueue.nodes").fetchall()) <= {
        ("completed",), ("cancelled",), ("dead",),
    }  # fmt: skip
