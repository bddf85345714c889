"""Writes the progress of jobs once a second, with one statement for all handlers that have reported progress since the last write.

If an attempt ends before its last progress is written, the outcome contains this progress. So no progress is lost, and a handler that
reports no progress causes no write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift
from pgqueue.model.progress import Progress
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import ProgressRefused
from pgqueue.worker.attempt import Attempt

EVERY = 1.0  # seconds between two writes of progress


class ProgressWriter:
    """``running`` returns the attempts that run."""

    def __init__(self, link: Link, running: Callable[[], Iterable[Attempt]]) -> None:
        self._link, self._running = link, running
        self.worker_id = 0

    async def run(self) -> None:
        await forever("the writing of progress", self.once)

    async def once(self) -> float:
        noted = [
            (attempt, progress) for attempt in self._running() if (progress := attempt.progress) is not None
        ]
        if noted:
            await sift(noted, self._write, self._refused)
        return EVERY

    async def _write(self, part: Sequence[tuple[Attempt, Progress]]) -> list[int]:
        rows = [(attempt.id, attempt.lease_id, progress) for attempt, progress in part]
        written = await self._link.once(statements.write_progress(self.worker_id, rows))
        for attempt, progress in part:
            if attempt.progress is progress and attempt.id in written:
                attempt.progress = None
        return written

    async def _refused(self, item: tuple[Attempt, Progress], error: Exception) -> None:
        attempt, progress = item
        emit(ProgressRefused(attempt.id, attempt.task, error))
        if attempt.progress is progress:
            attempt.progress = None
