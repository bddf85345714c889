"""Plays the second act, the shop's evening: its large orders are workflows. A worker is killed, and a person approves some charges."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pgqueue.dev.demo.act import Act, now
from pgqueue.dev.demo.display import Counts
from pgqueue.dev.demo.large_orders import LargeOrder, store_large_order
from pgqueue.text.counted import count

TAKEN = 7  # CDs of the largest order that its worker has taken when it is killed
THINKS = 1.5  # seconds after which the person approves

OPEN = """
SELECT count(*) FROM pgqueue.workflow_overview
WHERE name LIKE 'demo.order-%' AND state IN ('running', 'stopping', 'undoing')
"""

# Finds the worker of a job that has stored some steps, if this is a worker of the demo.
IN_THE_MIDDLE = """
SELECT r.pid
FROM pgqueue.running AS r
WHERE r.id = %s AND r.pid = ANY(%s) AND (SELECT count(*) FROM pgqueue.steps AS s WHERE s.job_id = r.id) >= %s
"""

# Finds the worker that runs a job after another worker, and how many steps that other one has stored.
GOES_ON = """
SELECT r.pid, (SELECT count(*) FROM pgqueue.steps AS s WHERE s.job_id = r.id AND s.lease_id < r.lease_id)
FROM pgqueue.running AS r
WHERE r.id = %s AND r.pid <> %s
"""

WAITS = """
SELECT w.id, o.order_id, o.amount, o.approver, o.patience
FROM pgqueue.waiting AS w
JOIN pgqueue.jobs AS j ON j.id = w.id
JOIN demo.large_orders AS o ON o.order_id = (j.args ->> 'order_id')::int
WHERE w.task = 'demo.orders.charge' AND 'approved' = ANY(w.signals) AND j.created_at >= %s AND w.id <> ALL(%s)
"""

DEAD = """
SELECT
    id, (args ->> 'order_id')::int, substring(task FROM '[^.]+$'),
    CASE reason WHEN 'signal_timed_out' THEN 'nobody has approved it in time' ELSE substring(last_error FROM ': (.*)$') END
FROM pgqueue.dead_letters
WHERE task LIKE 'demo.orders.%%' AND created_at >= %s AND id <> ALL(%s)
"""


@dataclass
class Evening(Act):
    """The shop's evening.

    ``due``: for each job that waits, when the person approves it. ``waits`` and ``dead``: the jobs that the display has named already.
    """

    largest: int = 0  # the order whose worker is killed
    job_id: int = 0  # its job that reserves the CDs
    killed: int = 0  # the pid of the killed worker
    goes_on: bool = False
    waits: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    due: dict[int, tuple[float, int, str]] = field(default_factory=dict)

    TASKS: ClassVar[str] = "demo.orders.%"

    def play(self, orders: Sequence[LargeOrder]) -> None:
        while len(self.workers.processes) < 2:
            self.display.say(f"worker {self.workers.start()} starts")
        self.end_former_workflows()
        self.store(orders)
        self.kill_a_worker()
        self.display.say(f"worker {self.workers.start()} starts instead")
        self.finish()

    def store(self, orders: Sequence[LargeOrder]) -> None:
        largest = max(orders, key=lambda order: order.quantity)
        for order in orders:
            handle = store_large_order(self.conn, order)
            if order is largest:
                self.largest, self.job_id = order.order_id, handle.job("reserve").id
        self.display.say(f"{len(orders)} large orders: each is a workflow, reserve → charge → ship")
        self.display.say(f"order {self.largest} has {largest.quantity} CDs; to take one is a step of its job")

    def kill_a_worker(self) -> None:
        """Sends SIGKILL to the worker that takes the CDs of the largest order, after it has taken some of them."""
        for _ in self.looks():
            found = self.conn.execute(
                IN_THE_MIDDLE, (self.job_id, list(self.workers.processes), TAKEN)
            ).fetchone()
            if found:
                self.killed = found[0]
                self.workers.kill(self.killed)
                self.display.say(f"worker {self.killed} is killed after {TAKEN} CDs of order {self.largest}")
                return
        raise self.gave_up("No worker of the demo takes CDs from the shelf.")

    def look(self) -> Counts:
        self.tell_who_goes_on()
        self.tell_who_waits()
        self.approve()
        self.tell_what_failed()
        return super().look()

    def finish(self) -> None:
        """Waits until no workflow is open. If one is open after WAIT_LIMIT seconds, the result is not proven."""
        for _ in self.looks():
            if not self.open_workflows():
                return

    def end_former_workflows(self) -> None:
        """Waits for the workflows of an interrupted demo. Their jobs are cancelled, and what they have done is undone."""
        if number := self.open_workflows():
            self.display.say(f"first, {count(number, 'workflow')} of an interrupted demo are undone")
            self.finish()
            self.since = now(self.conn)

    def open_workflows(self) -> int:
        row = self.conn.execute(OPEN).fetchone()
        return row[0] if row else 0

    def tell_who_goes_on(self) -> None:
        if not self.killed or self.goes_on:
            return
        if found := self.conn.execute(GOES_ON, (self.job_id, self.killed)).fetchone():
            self.goes_on = True
            pid, steps = found
            self.display.say(f"worker {pid} goes on with order {self.largest}, at CD {steps + 1}")

    def tell_who_waits(self) -> None:
        """Tells the viewer of each charge that waits for a person, and what the viewer could type."""
        for job_id, order_id, amount, approver, patience in self.conn.execute(
            WAITS, (self.since, self.waits)
        ).fetchall():
            self.waits.append(job_id)
            if approver is None:
                self.display.say(f"order {order_id}: ${amount} need a person, but none comes in {patience} s")
                continue
            self.due[job_id] = time.monotonic() + THINKS, order_id, approver
            self.display.say(f"order {order_id}: ${amount} need a person, who could type:")
            self.display.add(f"""pgq jobs signal {job_id} approved '{{"by": "you"}}'""")

    def approve(self) -> None:
        """Plays the person: sends the signals that are due."""
        for job_id, (moment, order_id, approver) in list(self.due.items()):
            if time.monotonic() >= moment:
                del self.due[job_id]
                self.conn.execute(
                    "SELECT pgqueue.signal(%s, 'approved', jsonb_build_object('by', %s::text))",
                    (job_id, approver),
                )
                self.display.say(
                    f"order {order_id}: {approver} approves, by SELECT pgqueue.signal({job_id}, …)"
                )

    def tell_what_failed(self) -> None:
        for job_id, order_id, node, error in self.conn.execute(DEAD, (self.since, self.dead)).fetchall():
            self.dead.append(job_id)
            self.display.say(f"order {order_id}: {node} is dead: {error}")
