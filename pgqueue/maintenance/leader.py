"""Elects one worker by a lease row, and has it maintain the queue.

Losing the election while maintaining does no harm: every step may run twice, also at the same time.
"""

from __future__ import annotations

import asyncio
import logging

from pgqueue import statements
from pgqueue.config import WorkerSettings
from pgqueue.connections import TROUBLE, Link
from pgqueue.maintenance.partitions import keep_partitions
from pgqueue.maintenance.rescuer import rescue_all

TIDY = 60.0
PARTITIONS = 3600.0

log = logging.getLogger("pgqueue")


class Leader:
    """``election`` is a connection that every worker has anyway; only the leader opens ``link``."""

    def __init__(self, election: Link, link: Link, settings: WorkerSettings) -> None:
        self._election, self._link, self._settings = election, link, settings
        self.worker_id = 0

    async def run(self) -> None:
        """Every heartbeat: keep or seek the lead; the leader rescues, and now and then tidies up."""
        loop = asyncio.get_running_loop()
        tidied = partitioned = -PARTITIONS
        while True:
            try:
                if await self._election.once(statements.elect(self.worker_id, 3 * self._settings.heartbeat)):
                    await rescue_all(self._link, self._settings.crash_limit)
                    if loop.time() - tidied > TIDY:
                        tidied = loop.time()
                        await self._tidy()
                    if loop.time() - partitioned > PARTITIONS and await keep_partitions(self._link):
                        partitioned = loop.time()
                else:
                    await self._link.close()
            except Exception as error:
                if not isinstance(error, TROUBLE):
                    log.exception("maintenance failed; it goes on at the next turn")
            await asyncio.sleep(self._settings.heartbeat)

    async def _tidy(self) -> None:
        orphaned = await self._link.once(statements.adopt_orphans())
        if orphaned:
            log.warning("jobs of unknown workers %s will be rescued", orphaned)
        for name in await self._link.once(statements.discover_queues()):
            log.info("queue %s has jobs", name)
        while max(await self._link.once(statements.purge(1000))) == 1000:
            pass

    async def close(self) -> None:
        await self._link.close()
