"""Keeps ``pgqueue.stats`` small: turns old minutes into hours, and deletes old hours, a thousand rows at a time."""

from __future__ import annotations

import asyncio

from pgqueue.database import statements
from pgqueue.database.link import Link

MINUTES_KEPT = 86_400.0  # minutes become hours after this many seconds
TOTAL_MINUTES_KEPT = (
    2 * 3600.0
)  # totals of a minute become totals of a quarter of an hour after this many seconds
TOTAL_QUARTERS_KEPT = 2 * 86_400.0  # and these become totals of an hour after this many seconds
HOURS_KEPT = 90 * 86_400.0  # hours are deleted after this many seconds
ROWS_AT_ONCE = 1000
STATEMENTS = (
    200  # one call of ``keep`` runs at most this many statements of each kind; the next call does the rest
)
PAUSE = 0.02  # seconds between two statements, so that the workers can use the disk


class Stats:
    def __init__(self, link: Link) -> None:
        self._link = link

    async def keep(self) -> bool:
        """Always returns True (the caller need not try again soon), because locked rows are left for the next call."""
        for statement in (
            statements.roll_up_stats(MINUTES_KEPT, ROWS_AT_ONCE),
            statements.roll_up_totals(60, 900, TOTAL_MINUTES_KEPT, ROWS_AT_ONCE),
            statements.roll_up_totals(900, 3600, TOTAL_QUARTERS_KEPT, ROWS_AT_ONCE),
            statements.purge_stats(HOURS_KEPT, ROWS_AT_ONCE),
        ):
            for _ in range(STATEMENTS):
                if await self._link.once(statement) < ROWS_AT_ONCE:
                    break
                await asyncio.sleep(PAUSE)
        return True
