"""Elects one worker as the leader, by a row with a lease. The leader maintains: it rescues, fires schedules, raises alerts and purges.

If the leader loses its lease while it works, a new leader can do the same work at the same time. This does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.maintenance.overdue import finish_overdue_forever
from pgqueue.maintenance.rescuer import rescue_all
from pgqueue.maintenance.upkeep import Upkeep
from pgqueue.maintenance.waits import time_out_waits_forever
from pgqueue.maintenance.workflows import Nodes, finish_workflows_forever
from pgqueue.model.tally import Tally
from pgqueue.runtime.services import hidden_task
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import (
    LeadEnded,
    LeaderElected,
    QueueDiscovered,
    SeatMended,
    WorkersAdopted,
)

TIDY_EVERY = 60.0


class Service(Protocol):
    async def run(self) -> None:
        """Works until it is cancelled."""


class Leader:
    """Runs in every worker. ``election``: a link of the worker that is open anyway, on which the worker tries to become the leader.

    Only the leader opens ``link`` and ``upkeep``. ``link`` is for statements that take milliseconds: about rescue, overdue jobs and alerts.
    The upkeep of tables and indexes can take minutes, so it has its own link, ``upkeep``. ``services`` also run only while this worker
    leads: the scheduler, on its own link, and the watch for alerts.
    """

    def __init__(
        self,
        election: Link,
        link: Link,
        upkeep: Link,
        settings: WorkerSettings,
        tally: Tally,
        *services: Service,
    ) -> None:
        self._election, self._link, self._settings, self._tally = election, link, settings, tally
        self._services = (Upkeep(upkeep), *services)
        self._nodes = Nodes(link)
        self._beside: list[asyncio.Task[None]] = []  # the tasks that run while this worker leads
        self._vacant = asyncio.Event()
        self._rescuing, self._tidying = Trouble("the rescue"), Trouble("upkeep of workers, queues and seats")
        self.worker_id = 0

    async def run(self) -> None:
        """Maintains while this worker is the leader. At every heartbeat, renews the leader's lease and rescues jobs.

        Every TIDY_EVERY seconds, also runs the steps ``_adopt``, ``_discover``, ``_heal``, ``mend`` and ``_purge``.

        A worker that is not the leader waits until the leader's lease ends, and then tries to become the leader.
        """
        tidied, trouble = -TIDY_EVERY, Trouble("maintenance")
        try:
            while True:
                pause = self._settings.heartbeat
                try:
                    leadership = await self._election.once(statements.elect(self.worker_id, 3 * pause))
                    if leadership.leads:
                        self._begin()
                        await self._try(self._rescue, self._rescuing)
                        now = asyncio.get_running_loop().time()
                        if now - tidied > TIDY_EVERY:
                            tidied = now
                            for step in (
                                self._adopt,
                                self._discover,
                                self._heal,
                                self._nodes.mend,
                                self._purge,
                            ):
                                await self._try(step, self._tidying)
                    else:
                        pause = leadership.left + random.uniform(0.05, 0.2) * pause  # noqa: S311 - jitter, not a secret
                        await self.close()
                    trouble.over()
                except Exception as error:  # noqa: BLE001 - it is logged
                    pause = max(pause, trouble.after(error))
                await self._pause(pause)
        finally:
            await self.close()

    def stand(self) -> None:
        """Tries now to become the leader, because the former leader has resigned. The first worker that tries succeeds."""
        if not self._beside:
            self._vacant.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._vacant.wait()
        self._vacant.clear()

    def _begin(self) -> None:
        if not self._beside:
            runs = [
                finish_overdue_forever(self._link, self._tally), finish_workflows_forever(self._link),
                time_out_waits_forever(self._link), *(service.run() for service in self._services),
            ]  # fmt: skip
            self._beside = [hidden_task(run) for run in runs]
            emit(LeaderElected(self.worker_id))

    async def _try(self, step: Callable[[], Awaitable[None]], trouble: Trouble) -> None:
        """Runs ``step``. If it fails, reports the error instead of raising it, so that the caller still runs the other steps."""
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - it is logged
            trouble.after(error)

    async def _rescue(self) -> None:
        await rescue_all(self._link, self._settings.crash_limit, self._tally)
        self._rescuing.over()

    async def _adopt(self) -> None:
        orphaned = await self._link.once(statements.adopt_orphans())
        if orphaned:
            emit(WorkersAdopted(tuple(orphaned)))

    async def _discover(self) -> None:
        for name in await self._link.once(statements.discover_queues()):
            emit(QueueDiscovered(name))

    async def _heal(self) -> None:
        for seat in await self._link.once(statements.recount_seats()):
            emit(SeatMended(seat.limit_id, seat.key, seat.counted, seat.correct))

    async def _purge(self) -> None:
        while max(await self._link.once(statements.purge(1000))) == 1000:
            pass
        while await self._link.once(statements.purge_runs(1000)) == 1000:
            pass
        while await self._link.once(statements.purge_workflows(1000)) >= 1000:
            pass
        while await self._link.once(statements.purge_requests(1000)) == 1000:
            pass
        while (
            max(await self._link.once(statements.purge_audit(self._settings.audit_retention, 1000))) == 1000
        ):
            pass

    async def close(self) -> None:
        """Ends all services, even in the middle of a statement. That does no harm: the next leader does the rest of the work."""
        beside, self._beside = self._beside, []
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if beside:
            emit(LeadEnded(self.worker_id))
        await self._link.close()
