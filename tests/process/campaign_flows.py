"""The workflows of a campaign: a client stores them while faults happen, cancels some of them, and retries nodes (test_campaign.py).

At the end, the client retries the workflows that it cancelled. Then each node must have ended as the model of random_flows.py says: retries
change nothing about the fates of nodes, and what a cancel has ended runs after all.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.types.json import Jsonb

from tests.random_flows import Flow, Node, random_flow, rename
from tests.waiting import wait_until

TASKS = ("node_async", "node_thread", "node_process")
LATE = 0.2  # this share of the nodes that complete fail first
LOCKS = 5.0  # seconds; a stopped process can keep a row locked, and then the client does something else
GAP = 1.0  # seconds between two acts of the client


class Flows:
    """Stores ``count`` random workflows one after the other, and cancels or retries some of them. ``finish`` makes all of them end."""

    def __init__(self, dsn: str, count: int, dice: random.Random) -> None:
        self.dsn, self.dice = dsn, dice
        self.flows = [self._flow(number) for number in range(count)]
        self.ids: list[int] = []
        self.tally: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._cancelled: set[int] = set()
        self._finishing = threading.Event()
        self.thread = threading.Thread(target=self._run, name="flows")

    def _flow(self, number: int) -> Flow:
        flow = rename(random_flow(self.dice, self.dice.choice([1, 5, 20, 40])), f"f{number}.")
        flow.cancelled.clear()  # the campaign cancels whole workflows
        return flow

    def finish(self) -> None:
        """Lets the client store the other workflows, and retry those that it has cancelled. Waits until it has done so."""
        self._finishing.set()
        self.thread.join(timeout=300)
        assert not self.thread.is_alive(), "the client of the workflows still waits"
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while len(self.ids) < len(self.flows):
                self.ids.append(self._do(self._store, self.flows[len(self.ids)], len(self.ids)))
                act = self.dice.choice([None, None, self._cancel, self._retry, self._retry_node])
                # A node that runs only after a failure would run after a cancel, if the workflow were retried while the cancel goes on.
                left = [flow for flow in self.ids if flow not in self._cancelled]
                if act is not None and left:
                    self._do(act, self.dice.choice(left))
                self._finishing.wait(GAP)
            for flow in sorted(self._cancelled):
                wait_until(lambda flow=flow: self._do(self._has_ended, flow), timeout=120)  # type: ignore[misc]
                self._do(self._retry, flow)
        except BaseException as error:  # noqa: BLE001 - the main thread of the test raises it again
            self.error = error

    def _do(self, act: Any, *args: Any) -> Any:
        """Does something on a connection of its own. If the connection breaks, does it again."""
        while True:
            try:
                with psycopg.connect(self.dsn, application_name="flows") as connection:
                    connection.execute(f"set local lock_timeout = '{LOCKS} s'".encode())
                    return act(connection, *args)
            except psycopg.errors.DeadlockDetected:
                raise
            except psycopg.errors.LockNotAvailable:
                self.tally["locked"] += 1
            except psycopg.OperationalError:
                self.tally["broken"] += 1
            threading.Event().wait(0.05)

    def _store(self, connection: Connection[Any], flow: Flow, number: int) -> int:
        """Stores a workflow under a key, so that a repeated call stores nothing."""
        workflow = {
            "name": "campaign", "key": str(number), "on_failure": flow.on_failure,
            "nodes": [self._node(flow, made) for made in flow.nodes],
        }  # fmt: skip
        row = connection.execute("select id from pgqueue.enqueue_workflow(%s)", [Jsonb(workflow)]).fetchone()
        assert row is not None
        self.tally["stored"] += 1
        return int(row[0])

    def _node(self, flow: Flow, made: Node) -> Node:
        if "group" in made:
            return made
        fate = flow.fates[made["name"]]
        if fate == "completed" and self.dice.random() < LATE:
            fate = "late"
        return {
            **made,
            "task": self.dice.choice(TASKS),
            "args": {"ms": self.dice.randint(1, 50), "fate": fate},
        }

    def _cancel(self, connection: Connection[Any], flow: int) -> None:
        found = connection.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone()
        self._cancelled.add(flow)
        self.tally[f"cancel: {found[0] if found else None}"] += 1

    def _retry(self, connection: Connection[Any], flow: int, node: str | None = None) -> None:
        try:
            connection.execute("select pgqueue.retry_workflow(%s, %s)", [flow, node])
        except psycopg.Error as error:
            if error.sqlstate != "PQ404":  # this node cannot be retried now
                raise
            connection.rollback()
            self.tally["retry refused"] += 1
        else:
            self.tally["retried"] += 1

    def _retry_node(self, connection: Connection[Any], flow: int) -> None:
        names = [made["name"] for made in self.flows[self.ids.index(flow)].nodes]
        self._retry(connection, flow, self.dice.choice(names))

    def _has_ended(self, connection: Connection[Any], flow: int) -> bool:
        row = connection.execute(
            "select exists (select from pgqueue.nodes where workflow_id = %s and state is null)", [flow]
        ).fetchone()
        return row == (False,)


def assert_all_ended_as_the_model_says(db: Connection[Any], flows: Flows) -> int:
    """Returns how many nodes there are."""
    count = 0
    for flow, number in zip(flows.flows, flows.ids, strict=True):
        found = dict(
            db.execute(
                "select name, state from pgqueue.workflow_nodes where workflow_id = %s", [number]
            ).fetchall()
        )
        expected = flow.ends()
        assert found == expected, (
            flow,
            {name: found[name] for name in found if found[name] != expected[name]},
        )
        count += len(found)
    return count
