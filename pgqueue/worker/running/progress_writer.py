"""Writes once a second how far jobs have come: one statement for all handlers that have said something since.

What was said after that goes with the outcome. So nothing is lost, and a handler that says nothing costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift
from pgqueue.model.progress import Report
from pgqueue.worker.attempt import Attempt

EVERY = 1.0  # seconds between two writes of progress

log = logging.getLogger("pgqueue")


class Reporter:
    """``running`` tells which attempts run."""

    def __init__(self, link: Link, running: Callable[[], Iterable[Attempt]]) -> None:
        self._link, self._running = link, running
        self.worker_id = 0

    async def run(self) -> None:
        await forever("the writing of progress", self.once)

    async def once(self) -> float:
        reports = [(attempt, report) for attempt in self._running() if (report := attempt.report) is not None]
        if reports:
            await sift(reports, self._write, self._refused)
        return EVERY

    async def _write(self, part: Sequence[tuple[Attempt, Report]]) -> list[int]:
        rows = [(attempt.id, attempt.lease_id, report) for attempt, report in part]
        written = await self._link.once(statements.report_progress(self.worker_id, rows))
        for attempt, report in part:
            if attempt.report is report and attempt.id in written:
                attempt.report = None
        return written

    async def _refused(self, item: tuple[Attempt, Report], error: Exception) -> None:
        attempt, report = item
        log.error("%r: the database refused its progress: %s", attempt, error)
        if attempt.report is report:
            attempt.report = None
