"""Makes day tables of finished jobs and transitions before their day begins, and drops day tables that are over age (past their retention).

No statement here waits long for a lock. A day table is dropped when its rows are older than the longest retention of all queues. For a
queue with a shorter retention, over-age rows are deleted from the day tables, a few blocks at a time. Over-age rows in the default
partitions are deleted in the same way.
"""

from __future__ import annotations

import asyncio

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.statements.upkeep import DayChange
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import PartitionChanged

DAYS_AHEAD = 3  # day tables are made for this many days ahead
BLOCKS_AT_ONCE = 500  # blocks of 8 kB that one transaction purges

DONE = {"made", "attached", "dropped"}


class Partitions:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._said: set[tuple[str, str]] = set()
        self._purged: dict[str, str] = {}

    async def keep(self) -> bool:
        """Makes, drops and purges tables.

        If a lock of another transaction was in the way, returns False, and the caller tries again soon.
        """
        changes: list[DayChange] = []
        while added := await self._link.once(statements.add_partitions(DAYS_AHEAD)):
            changes += added
            if not DONE & {change.what for change in added}:
                break
        while (change := await self._link.once(statements.drop_partitions())) is not None:
            changes.append(change)
            if change.what not in DONE:
                break
        for change in changes:
            self._emit(change)
        await self._purge()
        return all(change.what != "locked" for change in changes)

    def _emit(self, change: DayChange) -> None:
        is_news = (change.name, change.what) not in self._said
        if change.what not in DONE:
            self._said.add((change.name, change.what))
        if is_news:  # so that a fault is reported only once, not at each call of ``keep``
            emit(PartitionChanged(change.name, change.what, change.why))

    async def _purge(self) -> None:
        expiring = await self._link.once(statements.list_over_age_tables())
        for name, days in expiring.items():
            block: int | None = 0
            while block is not None and self._purged.get(name) != days:
                block = await self._link.once(statements.purge_jobs(name, block, BLOCKS_AT_ONCE))
                await asyncio.sleep(0.02)  # a pause, so that the workers can use the disk
            self._purged[name] = days
