"""Writes once a second how far jobs have come: one statement for all whose handlers have said something since.

What was said after that goes with the outcome. So nothing is lost, and a handler that says nothing costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from pgqueue import statements
from pgqueue.apart import apart
from pgqueue.connections import TROUBLE, Link
from pgqueue.progress import Report
from pgqueue.worker.attempt import Attempt

EVERY = 1.0

log = logging.getLogger("pgqueue")


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
        try:
            await apart(reports, self._write, self._refused)
        except TROUBLE:
            return  # the next turn says it again
        for attempt, report in reports:
            if attempt.report is report:
                attempt.report = None

    async def _write(self, part: Sequence[tuple[Attempt, Report]]) -> list[int]:
        rows = [(attempt.id, attempt.lease_id, report) for attempt, report in part]
        return await self._link.once(statements.report_progress(self.worker_id, rows))

    async def _refused(self, item: tuple[Attempt, Report], error: Exception) -> None:
        log.error("%r: the database refused its progress: %s", item[0], error)
