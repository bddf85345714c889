"""Moves the time of a test: all times that say when something is due go into the past by the same duration.

The clock stays as it is, and so do pgqueue's statements, which read the database's clock. For them, a job that was due in an hour is due
now if its row says so. The times of a schedule are times of the calendar, so its row stays as it is, and the scheduler gets a later moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.statements.decoding import one
from pgqueue.database.statements.schedules import ScheduleLook
from pgqueue.errors import InvalidOptionError
from pgqueue.integrations.testing.link import TransactionLink
from pgqueue.maintenance.declarations import Declarations
from pgqueue.maintenance.scheduler import Scheduler
from pgqueue.model.units import seconds
from pgqueue.sql import Statement

MOST_FIRES = 1000  # fire times that one move of the time passes
GRACE = 86_400.0 * 3650  # seconds; a move stops at each fire time, so none is missed
# The columns that say since when or until when something is.
SHIFTS = (
    """
    update pgqueue.jobs_live set
        run_at = run_at - make_interval(secs => %(by)s::float8),
        created_at = created_at - make_interval(secs => %(by)s::float8),
        started_at = started_at - make_interval(secs => %(by)s::float8),
        expires_at = expires_at - make_interval(secs => %(by)s::float8),
        deadline_at = deadline_at - make_interval(secs => %(by)s::float8)
    """,
    """
    update pgqueue.idempotency_keys set
        created_at = created_at - make_interval(secs => %(by)s::float8),
        expires_at = expires_at - make_interval(secs => %(by)s::float8)
    """,
    """
    update pgqueue.seats set
        full_at = full_at - make_interval(secs => %(by)s::float8),
        free_at = free_at - make_interval(secs => %(by)s::float8)
    """,
    "update pgqueue.starts set at = at - make_interval(secs => %(by)s::float8)",
    "update pgqueue.pauses set until = until - make_interval(secs => %(by)s::float8)",
)
# Sleeps, and waits that can time out.
SHIFT_WAITS = (
    "update pgqueue.checkpoints set value = jsonb_set(value, '{until}', to_jsonb((value ->> 'until')::timestamptz"
    " - make_interval(secs => %(by)s::float8))) where kind in ('sleep', 'wait') and (value ->> 'until')::timestamptz < 'infinity'"
)
NEXT = (
    "select extract(epoch from min(l.run_at) - clock_timestamp())::float8 from pgqueue.jobs_live l"
    " where l.run_at < 'infinity' and l.run_at > clock_timestamp() and l.parked is not true"
    " and (l.state in ('pending', 'retrying') or l.state = 'waiting' and l.waits_for is not null)"
)
BACK = (
    "update pgqueue.jobs_live j set run_at = j.run_at - make_interval(secs => %(by)s::float8) from pgqueue.schedule_runs r"
    " where r.job_id = j.id and r.enqueued_at >= %(since)s::timestamptz and j.run_at > clock_timestamp()"
)


class Time:
    """The time of one test. ``ahead``: how far it has moved so far."""

    def __init__(self, app: App, link: TransactionLink) -> None:
        self._app, self._link = app, link
        self._scheduler = Scheduler(link, grace=GRACE)
        self.ahead = 0.0
        self._is_declared = False

    async def declare(self) -> None:
        """Writes the rows for the tasks and schedules of the app, as a worker does at its start."""
        if self._is_declared:
            return
        self._is_declared = True
        app = self._app
        declarations = Declarations(
            app.name,
            list(app.schedules.values()),
            5.0,
            [task.spec for task in app.tasks.values()],
            named=app.named,
        )
        await self._link.once(declarations.sync_tasks())
        if app.schedules:
            declarations.note(await self._link.once(declarations.sync()))
        await self.fire()

    async def travel(self, duration: float | str | timedelta) -> None:
        """Moves the time by ``duration``, and enqueues the job of each schedule at each fire time on the way.

        Raises InvalidOptionError if ``duration`` is negative, or passes more than MOST_FIRES fire times.
        """
        await self.declare()
        left = seconds(duration, "travel()", past=False)
        for _ in range(MOST_FIRES):
            look = await self._look()
            if look.nearest is None or look.nearest > left:
                break
            await self._shift(look.nearest)
            left -= look.nearest
            await self.fire()
        else:
            raise InvalidOptionError(
                f"travel() has passed {MOST_FIRES} fire times of schedules.",
                do="travel a shorter way in one call",
            )
        await self._shift(left)

    async def travel_to_next(self, most: float) -> bool:
        """Moves the time to the next moment at which a job is due, if that is within ``most`` seconds. Returns whether it has moved."""
        await self.declare()
        nearest = await self._link.once(Statement("next_due", NEXT, {}, one))
        if nearest is None or nearest > most:
            return False
        await self.travel(max(nearest, 0.0))
        return True

    async def fire(self) -> None:
        """Enqueues the jobs of schedules whose fire times have come."""
        if not await self._link.once(
            Statement("any_schedule", "select exists (select from pgqueue.schedules)", {}, one)
        ):
            return
        since = await self._now()
        for _ in range(MOST_FIRES):
            if await self._scheduler.turn(since + timedelta(seconds=self.ahead)) > 0:
                break
        await self._link.once(
            Statement("bring_back", BACK + " returning j.id", {"by": self.ahead, "since": since}, len)
        )

    async def _look(self) -> ScheduleLook:
        moment = await self._now() + timedelta(seconds=self.ahead)
        return await self._link.once(statements.find_due_schedules(moment, False, 1))

    async def _now(self) -> datetime:
        now: datetime = await self._link.once(Statement("now", "select clock_timestamp()", {}, one))
        return now

    async def _shift(self, by: float) -> None:
        if by <= 0:
            return
        for text in (*SHIFTS, SHIFT_WAITS):
            await self._link.once(Statement("shift", text + " returning 1", {"by": by}, len))
        self.ahead += by
