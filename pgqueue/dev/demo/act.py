"""What the two acts of the demo have in common: they look at their jobs again and again, and wait for the end of these jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import psycopg

from pgqueue.dev.demo.display import FINAL, Counts, Display
from pgqueue.dev.demo.workers import Workers
from pgqueue.errors import PgQueueError

PACE = 0.02  # seconds between two looks
WAIT_LIMIT = 60.0  # a wait is given up after this many seconds; an act takes a quarter of this time

COUNTS = """
SELECT task, state, count(*) FROM pgqueue.jobs
WHERE created_at >= %s AND task LIKE %s GROUP BY task, state
"""


@dataclass
class Act:
    """An act of the demo. ``since``: when it began. ``TASKS``: a pattern of LIKE for the names of its tasks."""

    conn: psycopg.Connection
    since: datetime
    display: Display
    workers: Workers

    TASKS: ClassVar[str]

    def look(self) -> Counts:
        """Reads and shows how many jobs of each task are in each state."""
        counts: dict[str, dict[str, int]] = {}
        for task, state, number in self.conn.execute(COUNTS, (self.since, self.TASKS)):
            counts.setdefault(task, {})[state] = number
        self.workers.check()
        self.display.show(counts)
        return counts

    def looks(self) -> Iterator[Counts]:
        """Looks again and again, for WAIT_LIMIT seconds."""
        deadline = time.monotonic() + WAIT_LIMIT
        while time.monotonic() < deadline:
            yield self.look()
            time.sleep(PACE)

    def finish(self) -> None:
        """Waits until every job is finished. If jobs are not finished after WAIT_LIMIT seconds, the result is not proven."""
        for counts in self.looks():
            if all(state in FINAL for states in counts.values() for state in states):
                return

    def gave_up(self, what: str) -> PgQueueError:
        return PgQueueError(what, why=self.workers.last_words())


def now(conn: psycopg.Connection) -> datetime:
    """Returns the time of the database."""
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row
    moment: datetime = row[0]
    return moment
