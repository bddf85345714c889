"""Writes the counts of a tally to ``pgqueue.stats`` once every few seconds, with a statement of its own.

The statement goes over the connection of the claims, so that a worker needs no further connection. It changes few rows and waits at most
50 ms for a lock, so it cannot keep the worker from claiming (functions/add_stats.sql). If it fails, its counts are kept and written
later. If its answer is lost, its counts are written again, and perhaps count twice. If the process is killed, the counts of the last
EVERY seconds are lost.
"""

from __future__ import annotations

import asyncio
import random

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import CONFLICTS, forever, one_line
from pgqueue.model.tally import Tally, as_deltas
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import CountsLost

EVERY = 5.0  # seconds between two writes
ROWS_AT_ONCE = 100  # one statement writes at most this many rows
SILENT_CONFLICTS = 12  # a lock that is not free is normal; after this many tries in a row it is reported
PROMPT = 0.1  # an answer within this many seconds says what time it is
LAST = 1.0  # the time limit, in seconds, for the last write of a worker that stops


class StatsWriter:
    def __init__(self, link: Link, tally: Tally) -> None:
        self._link, self.tally = link, tally
        self._conflicts = 0

    async def run(self) -> None:
        await forever("the writing of statistics", self._turn)

    async def _turn(self) -> float:
        try:
            await self.once()
            self._conflicts = 0
        except CONFLICTS:
            self._conflicts += 1
            if self._conflicts >= SILENT_CONFLICTS:
                raise
        if self.tally.dropped:
            dropped, self.tally.dropped = self.tally.dropped, 0
            emit(CountsLost(dropped, "they could not be written for too long"))
        return EVERY * random.uniform(0.8, 1.0)  # noqa: S311 - jitter, so that many workers do not write at the same moment

    async def once(self) -> None:
        """Writes all counts. If this fails, raises the error and keeps the counts that are not written.

        What is counted meanwhile waits for the next call: while jobs end, there are always new counts.
        """
        left = self.tally.take()
        try:
            while left:
                sent = monotonic()
                now = await self._link.once(statements.add_stats(as_deltas(left[:ROWS_AT_ONCE])))
                del left[:ROWS_AT_ONCE]
                if monotonic() - sent < PROMPT:
                    server_time.tell(now)
        except BaseException:
            self.tally.give_back(left)
            raise

    async def last(self) -> None:
        """Writes the last counts of a worker that stops. If this fails or takes longer than LAST seconds, these counts are lost."""
        try:
            async with asyncio.timeout(LAST):
                await self.once()
        except Exception as error:  # noqa: BLE001 - it is logged
            lost = sum(counts.started + counts.ended() for _, counts in self.tally.take())
            emit(CountsLost(lost, one_line(error)))
