"""Plays the first act, the shop's day: makes its events happen, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pgqueue.dev.demo.act import PACE, Act
from pgqueue.dev.demo.display import Counts
from pgqueue.dev.demo.shop import CardDeclinedError, Order, import_orders, place_order
from pgqueue.dev.demo.sinks import MailSink

# Finds a worker whose mail has arrived, but whose job still runs, because the mail server has not answered yet.
IN_THE_MIDDLE = """
SELECT r.pid
FROM pgqueue.running AS r
JOIN demo.mails AS m ON m.key = 'job-' || r.id
WHERE m.id > %s AND r.pid = ANY(%s)
LIMIT 1
"""

RESCUED = "SELECT count(*) FROM pgqueue.transitions WHERE reason = 'rescued' AND at >= %s"


@dataclass
class Day(Act):
    """The shop's day. The numbers count what has happened so far."""

    mail: MailSink
    transactions: int = 0
    written: int = 0
    rolled_back: int = 0
    rescued: int = 0

    TASKS: ClassVar[str] = "demo.shop.%"

    def play(self, orders: Sequence[Order]) -> None:
        imported, half = len(orders) // 3, len(orders) * 2 // 3
        for start in range(0, imported, 10):
            self.write(orders[start : min(start + 10, imported)])
        self.display.say(f"{imported} orders imported, ten per transaction; no worker runs yet")
        for _ in range(2):
            self.display.say(f"worker {self.workers.start()} starts")
        self.sell(orders[imported:half])
        self.kill_a_worker(orders[half : half + 8])
        self.display.say(f"worker {self.workers.start()} starts instead")
        self.sell(orders[half + 8 :])
        self.display.say(f"the shop closes: {self.written} orders written, {self.rolled_back} rolled back")
        self.finish()

    def write(self, orders: Sequence[Order]) -> None:
        """Writes orders in one transaction. One of twenty transactions is rolled back after its jobs were enqueued."""
        self.transactions += 1
        declined = self.transactions % 20 == 3
        self.written += len(orders)
        try:
            if len(orders) == 1:
                place_order(self.conn, orders[0], card_declined=declined)
            else:
                import_orders(self.conn, orders, card_declined=declined)
        except CardDeclinedError:
            self.rolled_back += len(orders)

    def sell(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self.write([order])
            self.look()
            time.sleep(PACE)

    def look(self) -> Counts:
        rescued = self.conn.execute(RESCUED, (self.since,)).fetchone()
        if rescued and rescued[0] > self.rescued:
            self.rescued = rescued[0]
            self.display.say(f"jobs rescued because their worker's lease ran out: {self.rescued}")
        return super().look()

    def kill_a_worker(self, orders: Sequence[Order]) -> None:
        """Sends SIGKILL to a worker whose mail has arrived, before the worker gets the mail server's answer."""
        with self.mail.answers_withheld():
            row = self.conn.execute("SELECT coalesce(max(id), 0) FROM demo.mails").fetchone()
            self.sell(orders)
            for _ in self.looks():
                if pid := self.worker_in_the_middle(row[0] if row else 0):
                    self.workers.kill(pid)
                    break
            else:
                raise self.gave_up("No worker of the demo sends mail.")
        self.display.say(f"worker {pid} is killed, just after it has sent mail")

    def worker_in_the_middle(self, after: int) -> int | None:
        row = self.conn.execute(IN_THE_MIDDLE, (after, list(self.workers.processes))).fetchone()
        return row[0] if row else None
