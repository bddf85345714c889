"""The leader's slow work.

It makes and drops day tables, purges over-age rows, checkpoints and signals, rolls up statistics, and rebuilds outgrown indexes.
"""

from __future__ import annotations

import asyncio

from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.maintenance.indexes import Indexes
from pgqueue.maintenance.leftovers import checkpoints, job_lines, signals
from pgqueue.maintenance.partitions import Partitions
from pgqueue.maintenance.stats import Stats

UPKEEP_EVERY = 600.0  # seconds between two calls of ``once``
TRY_AGAIN_AFTER = (
    60.0  # seconds until the next call, if another session was in the way or a part of the upkeep failed
)


class Upkeep:
    """Keeps day tables and indexes in order. ``link`` is closed between two calls of ``once``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._trouble = Trouble("upkeep")
        self._partitions = Partitions(link)
        self._checkpoints, self._signals, self._job_lines = checkpoints(link), signals(link), job_lines(link)
        self._stats = Stats(link)
        self._indexes = Indexes(link)

    async def run(self) -> None:
        """Calls ``once`` again and again until it is cancelled."""
        try:
            while True:
                done = await self.once()
                await asyncio.sleep(UPKEEP_EVERY if done else TRY_AGAIN_AFTER)
        finally:
            await self._link.close()

    async def once(self) -> bool:
        """Does each part of the upkeep.

        Returns False, so that ``run`` tries again soon, if a part failed or another session was in the way.
        """
        done = True
        for step in (
            self._partitions.keep, self._checkpoints.keep, self._signals.keep, self._job_lines.keep, self._stats.keep, self._indexes.keep,
        ):  # fmt: skip
            try:
                done = await step() and done
            except Exception as error:  # noqa: BLE001 - it is logged
                self._trouble.after(error)
                done = False
        await self._link.close()
        return done
