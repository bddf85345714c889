"""Writes once a second how far jobs have come: one statement for all whose handlers have said something since.

What was said after that goes with the outcome. So nothing is lost, and a handler that says nothing costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from pgqueue import statements
from pgqueue.connections import TROUBLE, Link
from pgqueue.worker.attempt import Attempt

EVERY = 1.0


class Reporter:
    """``running`` tells which attempts run."""

    def __init__(self, link: Link, running: Callable[[], Iterable[Attempt]]) -> None:
        self._link, self._running = link, running
        self.worker_id = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.once()

    async def once(self) -> None:
        reports = [(attempt, report) for attempt in self._running() if (report := attempt.report) is not None]
        if not reports:
            return
        rows = [(attempt.id, attempt.lease_id, report) for attempt, report in reports]
        try:
            await self._link.once(statements.report_progress(self.worker_id, rows))
        except TROUBLE:
            return  # the next turn says it again
        for attempt, report in reports:
            if attempt.report is report:
                attempt.report = None
