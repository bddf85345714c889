"""Elects one worker by a lease row, and has it maintain the queue.

Losing the election while maintaining does no harm: every step may run twice, also at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import random

from pgqueue import statements
from pgqueue.config import WorkerSettings
from pgqueue.connections import TROUBLE, Link
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.maintenance.upkeep import Upkeep
from pgqueue.maintenance.watch import Watch

TIDY = 60.0

log = logging.getLogger("pgqueue")


class Leader:
    """``election`` is a connection that every worker has anyway; only the leader opens the others.

    Rescue has ``link`` for itself, so that no upkeep of tables and indexes, which may take minutes, can delay it, nor a
    watch that has to read the dead entries of an old snapshot.
    """

    def __init__(
        self, election: Link, link: Link, upkeep: Link, watch: Watch, settings: WorkerSettings
    ) -> None:
        self._election, self._link, self._settings = election, link, settings
        self._services = (Upkeep(upkeep), watch)
        self._serving: list[asyncio.Task[None]] = []
        self.worker_id = 0

    async def run(self) -> None:
        """Every heartbeat the leader renews the lead, rescues, and now and then tidies up; others ask when a term is over."""
        tidied = -TIDY
        try:
            while True:
                pause = self._settings.heartbeat
                try:
                    term = await self._election.once(statements.elect(self.worker_id, 3 * pause))
                    if term.leads:
                        if not self._serving:
                            self._serving = [asyncio.create_task(service.run()) for service in self._services]
                        await rescue_all(self._link, self._settings.crash_limit)
                        now = asyncio.get_running_loop().time()
                        if now - tidied > TIDY:
                            tidied = now
                            await self._tidy()
                    else:
                        pause = term.left + random.uniform(0.05, 0.2) * pause  # noqa: S311 - jitter, not a secret
                        await self.close()
                except Exception as error:
                    if not isinstance(error, TROUBLE):
                        log.exception("maintenance failed; it goes on at the next turn")
                await asyncio.sleep(pause)
        finally:
            await self.close()

    async def _tidy(self) -> None:
        orphaned = await self._link.once(statements.adopt_orphans())
        if orphaned:
            log.warning("jobs of unknown workers %s will be rescued", orphaned)
        for name in await self._link.once(statements.discover_queues()):
            log.info("queue %s has jobs", name)
        while max(await self._link.once(statements.purge(1000))) == 1000:
            pass

    async def close(self) -> None:
        """Ends upkeep and watch, also in the middle of a statement: the next leader finds and mends what is left."""
        serving, self._serving = self._serving, []
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._link.close()
