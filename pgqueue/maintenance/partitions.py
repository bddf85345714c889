"""Keeps the days of finished jobs and transitions: made ahead, dropped when over age, never waiting long for a lock.

The longest retention of any queue rules the days. Rows of a queue that keeps less, and over-age rows in the default
partitions, are deleted a part of a table at a time.
"""

from __future__ import annotations

import asyncio
import logging

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.statements.upkeep import DayChange

AHEAD = 3  # days
BLOCKS = 500  # of 8 kB, purged in one transaction

DONE = {"made", "attached", "dropped"}
TEXTS = {
    "locked": "another transaction holds the tables of %s; it is tried again soon%.0s",
    "crowded": "many finished rows lie in the default partition, so %s cannot be made; they stay there until retention%.0s",
    "refused": "%s lies detached and cannot be attached: %s",
}

log = logging.getLogger("pgqueue")


class Partitions:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._said: set[tuple[str, str]] = set()
        self._purged: dict[str, str] = {}

    async def keep(self) -> bool:
        """Whether it was done; False if another transaction holds a lock, and it has to be tried again."""
        changes: list[DayChange] = []
        while added := await self._link.once(statements.add_partitions(AHEAD)):
            changes += added
            if not DONE & {change.what for change in added}:
                break
        while (change := await self._link.once(statements.drop_partitions())) is not None:
            changes.append(change)
            if change.what not in DONE:
                break
        for change in changes:
            self._say(change)
        await self._purge()
        return all(change.what != "locked" for change in changes)

    def _say(self, change: DayChange) -> None:
        if change.what in DONE:
            log.info("%s partition %s", change.what, change.name)
        elif (change.name, change.what) not in self._said:  # once, not every hour
            self._said.add((change.name, change.what))
            level = logging.INFO if change.what == "locked" else logging.WARNING
            log.log(level, TEXTS[change.what], change.name, change.why)

    async def _purge(self) -> None:
        expiring = await self._link.once(statements.list_expiring())
        for name, days in expiring.items():
            block: int | None = 0
            while block is not None and self._purged.get(name) != days:
                block = await self._link.once(statements.purge_jobs(name, block, BLOCKS))
                await asyncio.sleep(0.02)  # leave the disk to those who work
            self._purged[name] = days
