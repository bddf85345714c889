"""Enqueues the jobs of schedules when their fire times come.

A scheduler reads the schedules, enqueues the jobs whose fire time has come, and sleeps until the next fire time, at most LOOK_EVERY
seconds.

Many schedulers can run at the same time, in any process. The transaction that enqueues a job also inserts a row for the fire time. The
primary key allows only one row for a fire time, so no second scheduler enqueues a job for this fire time. By default only the leader runs a
scheduler. All times are read from the database's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import psycopg

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever, is_lost, may_pass, one_line
from pgqueue.database.sifting import sift
from pgqueue.database.statements.schedules import DueSchedule, ScheduleLook
from pgqueue.errors import PgQueueError
from pgqueue.model.schedule import Plan, plan, problem
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import (
    ScheduleBroken,
    ScheduleFired,
    ScheduleMissed,
    SchedulePutOff,
    ScheduleReadLater,
    ScheduleSkipped,
    ScheduleUnreadable,
)

# The schedules are read again after at most this many seconds, so an edit of a schedule takes effect within this time.
LOOK_EVERY = 1.5
# The schedules are read again after this many seconds if a run waits for the end of the schedule's former run, or if a row was locked.
LOOK_AGAIN_AFTER = 0.3
SCHEDULES_AT_ONCE = 200  # at most this many schedules are read together, and one transaction handles them
MISSED_AFTER = 60.0  # a fire time that passed more than this many seconds ago counts as missed, not as late

Due = tuple[DueSchedule, Plan]


class Scheduler:
    """Enqueues the jobs of schedules. A fire time that is enqueued more than ``grace`` seconds late counts as missed.

    ``grace`` must be longer than the election of a new leader takes, so that a fire time during an election does not count as missed.
    """

    def __init__(self, link: Link, *, grace: float = MISSED_AFTER) -> None:
        self._link, self._grace = link, grace

    async def run(self) -> None:
        """Looks at the schedules again and again until it is cancelled. If ``link`` breaks, it connects again by itself."""
        broken = True

        async def look() -> float:
            nonlocal broken
            pause = await self.turn(broken=broken)
            broken = False
            return pause

        try:
            await forever("the handling of the schedules", look)
        finally:
            await self._link.close()

    async def turn(self, moment: datetime | None = None, *, broken: bool = False) -> float:
        """Handles the schedules that are due at ``moment`` (None: now). Returns after how many seconds they must be read again."""
        look = await self._look(moment, broken=broken)
        ready: list[Due] = []
        done = []
        for due in look.due:
            try:
                ready.append((due, self._plan(due, look.now)))
            except Exception as error:  # noqa: BLE001 - it is logged
                done.append(await self._give_up(due, error))
        done += await self._fire(ready)
        if any(done):
            return 0.0  # these schedules have new fire times, so they must be read again
        pause = LOOK_EVERY if look.nearest is None else min(LOOK_EVERY, look.nearest)
        return min(pause, LOOK_AGAIN_AFTER) if done or look.waiting else pause

    async def _look(self, moment: datetime | None, *, broken: bool) -> ScheduleLook:
        """Reads the schedules that must be handled now. If a row cannot be read, reports that row, and reads the other rows."""
        try:
            return await self._link.once(statements.find_due_schedules(moment, broken, SCHEDULES_AT_ONCE))
        except Exception as error:
            if is_lost(error):
                raise

        async def run(part: Sequence[tuple[int, str]]) -> list[ScheduleLook]:
            ids = [schedule for schedule, _ in part]
            return [
                await self._link.once(statements.find_due_schedules(moment, broken, SCHEDULES_AT_ONCE, ids))
            ]

        async def give_up(row: tuple[int, str], error: Exception) -> None:
            emit(ScheduleUnreadable(row[0], problem(error)))
            await self._link.once(statements.note_problem(*row, problem(error)))

        async def leave(row: tuple[int, str], error: Exception) -> None:
            emit(ScheduleReadLater(row[0], one_line(error)))

        looks = await sift(await self._link.once(statements.list_schedule_versions()), run, give_up, leave)
        looks.append(
            await self._link.once(statements.find_due_schedules(moment, broken, SCHEDULES_AT_ONCE, []))
        )
        return replace(looks[-1], due=[due for look in looks for due in look.due][:SCHEDULES_AT_ONCE])

    def _plan(self, due: DueSchedule, now: datetime) -> Plan:
        return plan(
            due.schedule, now, next_at=due.next_at, edited_at=due.edited_at, over=due.over, grace=self._grace
        )

    async def _fire(self, ready: list[Due]) -> list[bool]:
        """Enqueues the jobs of these schedules in one transaction. If that fails, tries the schedules one by one.

        Returns for each schedule whether it was handled. False: a lock or an edit of another transaction was in the way.
        """
        if not ready:
            return []
        try:
            jobs = await self._link.once(statements.fire_schedules(ready))
        except Exception as error:
            if is_lost(error):
                raise
            if len(ready) > 1:
                return [done for one in ready for done in await self._fire([one])]
            [(due, _)] = ready
            if may_pass(error):
                emit(SchedulePutOff(due.schedule.name, one_line(error)))
                return [False]
            return [await self._give_up(due, error)]
        for due, planned in ready:
            count = jobs[due.id]
            if count is not None:
                _emit_fired(due.schedule.name, planned, count)
        return [count is not None for count in jobs.values()]

    async def _give_up(self, due: DueSchedule, error: Exception) -> bool:
        """Writes into the schedule's row why it cannot run, and reports that. The other schedules still run."""
        said = problem(error)
        is_of_the_row = isinstance(error, PgQueueError | psycopg.Error)
        emit(ScheduleBroken(due.schedule.name, said, None if is_of_the_row else error))
        return await self._link.once(statements.note_problem(due.id, due.version, said))


def _emit_fired(name: str, planned: Plan, jobs: int) -> None:
    if planned.passed_over is not None:
        emit(ScheduleSkipped(name, planned.passed_over))
    elif planned.missed_since is not None:
        emit(ScheduleMissed(name, planned.missed_since))
    if jobs:
        emit(ScheduleFired(name, jobs))
