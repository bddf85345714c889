"""Writes the progress and the kept log lines of jobs once a second.

One statement writes the progress of all handlers that have reported progress since the last write.

If an attempt ends before its last progress is written, the outcome contains this progress. So no progress is lost, and a handler that
reports no progress causes no write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import psycopg

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift
from pgqueue.model.progress import Progress
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import LinesRefused, ProgressRefused
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.job_lines import LineBuffer

EVERY = 1.0  # seconds between two writes of progress and of kept lines
LINES_AT_ONCE = 1_000
LAST_LINES = 2.0  # seconds that a worker that ends takes to write the last lines


class ProgressWriter:
    """``running`` returns the attempts that run."""

    def __init__(self, link: Link, running: Callable[[], Iterable[Attempt]], lines: LineBuffer) -> None:
        self._link, self._running, self._lines = link, running, lines
        self.worker_id = 0

    async def run(self) -> None:
        try:
            await forever("the writing of progress", self.once)
        finally:
            with suppress(Exception):
                async with asyncio.timeout(LAST_LINES):
                    await self._write_lines()

    async def once(self) -> float:
        noted = [
            (attempt, progress) for attempt in self._running() if (progress := attempt.progress) is not None
        ]
        if noted:
            await sift(noted, self._write, self._refused)
        await self._write_lines()
        return EVERY

    async def _write_lines(self) -> None:
        """Writes the kept lines of jobs. If the database refuses some of them, these lines are left out, and a log line says so."""
        while lines := self._lines.take(LINES_AT_ONCE):
            try:
                await self._link.once(statements.add_job_lines(lines))
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                emit(LinesRefused(len(lines), error))
            except BaseException:
                self._lines.give_back(lines)
                raise

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
