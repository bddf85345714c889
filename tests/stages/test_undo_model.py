"""Random workflows with undos, run by several connections at once, are undone as a model says.

The model looks at how the nodes ended. If one of them failed, each completed node that has an undo is undone once, the last one first.
Otherwise nothing is undone. An undo runs only when no node is open.

A retry opens nodes that had ended, so it can deadlock with an end that has looked at them before. PostgreSQL then rolls one of the two back,
and it is tried again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import DeadlockDetected

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.random_flows import Flow, random_flow
from tests.waiting import wait_until
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish, ids, overview, store, violations

CONNECTIONS = 3
OUTCOMES = {"completed": COMPLETED, "dead": DEAD, "cancelled": Outcome.cancelled("asked")}
UNDOS = """
select u.undoes, u.state, u.ended_at from pgqueue.nodes u where u.workflow_id = %s and u.undoes > 0 order by u.rank
"""
EXPECTED = """
select n.id from pgqueue.nodes n where n.workflow_id = %s and n.undo is not null and n.state = 'completed' order by n.ended_at desc, n.id desc
"""
EARLY = """
select u.id from pgqueue.nodes u join pgqueue.jobs j on j.id = u.id
where u.undoes > 0 and j.created_at < (select max(n.ended_at) from pgqueue.nodes n where n.workflow_id = u.workflow_id and n.undoes is null)
"""


class Worker:
    """Claims and settles nodes and undos on its own connection. Now and then rolls back, or tries an attempt again."""

    def __init__(self, db: Connection[Any], chance: random.Random, fates: dict[int, str]) -> None:
        self.db, self.chance, self.fates = db, chance, fates
        self.hand = Hand(db, ["t", "undo"])
        self.ran: Counter[int] = Counter()
        self.open: list[tuple[int, int]] = []

    def turn(self) -> bool:
        """Settles some jobs. Returns whether there were any."""
        self.open += [
            (attempt.id, attempt.lease_id) for attempt in self.hand.claim(self.chance.choice([1, 3, 20]))
        ]
        if not self.open:
            return False
        part = sorted(self.chance.sample(self.open, self.chance.randint(1, min(len(self.open), 10))))
        outcomes = [(job, lease, self.outcome(job)) for job, lease in part]
        with suppress(DeadlockDetected), self.db.transaction():
            assert len(run(self.db, statements.settle(self.hand.id, outcomes))) == len(part)
            if self.chance.random() < 0.1:
                raise psycopg.Rollback
            self.ran.update(job for job, _, outcome in outcomes if outcome.state != "retrying")
            self.open = [item for item in self.open if item not in part]
        return True

    def outcome(self, job: int) -> Outcome:
        if self.chance.random() < 0.1:
            return Outcome.retried(0.0, ValueError("again"))
        if job in self.fates:
            return OUTCOMES[self.fates[job]]
        return self.chance.choice([COMPLETED, COMPLETED, DEAD])  # an undo


def with_undos(chance: random.Random, flow: Flow) -> Flow:
    share = chance.choice([0.1, 0.5, 1.0])
    for made in flow.nodes:
        if "task" in made and chance.random() < share:
            made["undo"] = {"task": "undo", "results": {"it": made["name"]}}
    return flow


def has_failed(flow: Flow) -> bool:
    ends = flow.ends()
    needs = {made["name"]: made.get("when", "completed") for made in flow.nodes if "task" in made}
    before = {made["name"]: [ends[other] for other in made["after"]] for made in flow.nodes if "task" in made}
    return any(
        ends[name] != "completed"
        and (when != "failed" or any(state != "completed" for state in before[name]))
        for name, when in needs.items()
    )


def work(workers: list[Worker], acts: list[Callable[[], None]]) -> None:
    def quiet(db: Connection[Any]) -> bool:
        [(left,)] = db.execute("select count(*) from pgqueue.jobs_live where workflow_id is not null")
        return not left

    def until_quiet(worker: Worker) -> None:
        def is_over() -> bool:
            while worker.turn():
                pass
            finish(worker.db)
            run(worker.db, statements.finish_overdue(100))
            return quiet(worker.db)

        wait_until(is_over, 120)

    with ThreadPoolExecutor(len(workers) + len(acts)) as pool:
        for done in [
            *[pool.submit(act) for act in acts],
            *[pool.submit(until_quiet, worker) for worker in workers],
        ]:
            done.result()
    until_quiet(workers[0])


@pytest.mark.parametrize("seed", range(10))
def test_random_workflows_are_undone_as_the_model_says(
    db: Connection[Any], connect: Callable[..., Connection[Any]], seed: int
) -> None:
    chance = random.Random(seed)
    flows = [with_undos(chance, random_flow(chance, chance.choice([1, 10, 60, 240]))) for _ in range(3)]
    stored = [
        store(db, *flow.nodes, on_failure=flow.on_failure, name=f"f{n}") for n, flow in enumerate(flows)
    ]
    fates: dict[int, str] = {}
    for flow, number in zip(flows, stored, strict=True):
        numbers = ids(db, number)
        fates |= {numbers[name]: fate for name, fate in flow.fates.items()}
        for name in sorted(flow.cancelled):
            run(db, statements.cancel(numbers[name]))
    workers = [Worker(connect(), random.Random(f"{seed} {n}"), fates) for n in range(CONNECTIONS)]
    work(workers, [])
    ran = sum((worker.ran for worker in workers), Counter[int]())
    for flow, number in zip(flows, stored, strict=True):
        undos = db.execute(UNDOS, [number]).fetchall()
        expected = [node for (node,) in db.execute(EXPECTED, [number])] if has_failed(flow) else []
        assert [node for node, *_ in undos] == expected
        ended = [moment for *_, moment in undos]
        assert ended == sorted(ended)
        bad = any(state != "completed" for _, state, _ in undos)
        assert overview(db, number) == (
            ("undo_failed" if bad else "undone") if undos else "failed" if has_failed(flow) else "completed"
        )
    assert set(ran.values()) <= {1}
    assert db.execute(EARLY).fetchall() == []
    assert violations(db) == {}


@pytest.mark.parametrize("seed", range(6))
def test_random_workflows_that_are_cancelled_and_retried_meanwhile_are_undone_once_and_in_order(
    db: Connection[Any], connect: Callable[..., Connection[Any]], seed: int
) -> None:
    """No model can say whether a retry or the undo comes first. But what is undone had completed, once and in order."""
    chance = random.Random(seed)
    flows = [with_undos(chance, random_flow(chance, chance.choice([10, 60, 240]))) for _ in range(4)]
    policies = ["cancel", "stop", "continue"]
    stored = [
        store(db, *flow.nodes, on_failure=chance.choice(policies), name=f"f{n}")
        for n, flow in enumerate(flows)
    ]
    fates = {
        ids(db, number)[name]: fate
        for flow, number in zip(flows, stored, strict=True)
        for name, fate in flow.fates.items()
    }
    workers = [Worker(connect(), random.Random(f"{seed} {n}"), fates) for n in range(CONNECTIONS)]

    def disturb() -> None:
        other, own = connect(autocommit=True), random.Random(f"{seed} other")
        for _ in range(40):
            act = own.choice(
                [
                    "cancel_workflow(%(flow)s)",
                    "retry_workflow(%(flow)s)",
                    "cancel(%(job)s)",
                    "cancel(%(job)s)",
                    "revive(%(job)s)",
                ]
            )
            try:
                other.execute(
                    f"select pgqueue.{act}".encode(),
                    {"flow": own.choice(stored), "job": own.choice(list(fates))},
                )
            except psycopg.Error as error:
                assert error.sqlstate in ("PQ404", "40P01"), error  # noqa: PT017 - other errors are raised
        other.close()

    work(workers, [disturb])
    for number in stored:
        undos = db.execute(UNDOS, [number]).fetchall()
        assert [node for node, *_ in undos] == (
            [node for (node,) in db.execute(EXPECTED, [number])] if undos else []
        )
        assert overview(db, number) in {"undone", "undo_failed", "failed", "cancelled", "completed"}
    assert db.execute(EARLY).fetchall() == []
    assert violations(db) == {}
