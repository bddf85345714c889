"""The pages of schedules: when each fires next, on the clocks of its zone, and on which days these clocks change."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from pgqueue.database import statements
from pgqueue.database.statements.schedules import ScheduleRow
from pgqueue.errors import PgQueueError, ScheduleNotFoundError
from pgqueue.model.fire_times import Timing, zone
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Action, Block, Column, Document, Fact, Facts, Notice, Page, Row, Table
from pgqueue.ui.reading.reader import Reader, shown

NEXT = 5  # fire times of a schedule on its page

COLUMNS = (
    Column("name", "Schedule", "code", "/schedules/{name}"),
    Column("state", "State", "flag"),
    Column("fires", "Fires", "code"),
    Column("tz", "Zone", "code"),
    Column("task", "Task", "code"),
    Column("last_at", "Last", "time"),
    Column("last_run", "Last run", "flag"),
    Column("next_at", "Next", "time"),
)


async def schedules(reader: Reader, _asked: Asked) -> Page:
    statement = statements.list_schedules()
    table = Table(
        name="schedules", title="Schedules", columns=COLUMNS, rows=[_row(row) for row in await reader.ask(statement)],
        empty="There is no schedule. Example: pgq cron add nightly --task app.clean --cron '0 2 * * *'",
        query=shown(statement, "pgq cron list"),
    )  # fmt: skip
    return Page(name="schedules", title="Schedules", path=path_to("schedules"), blocks=[table])


async def schedule(reader: Reader, asked: Asked) -> Page:
    name = asked.path["schedule"]
    statement = statements.list_schedules(name)
    found = await reader.ask(statement)
    if not found:
        raise ScheduleNotFoundError(
            f"There is no schedule {name!r}.", do="See all schedules on the page Schedules."
        )
    [row] = found
    plan = row.schedule
    blocks: list[Block] = []
    if row.problem:
        blocks.append(Notice("error", f"The schedule cannot run: {row.problem}", f"pgq cron edit {name}"))
    blocks += [
        Facts(
            name="schedule", title="Schedule", query=shown(statement, f"pgq cron show {name}"),
            items=[
                Fact("task", "Task", plan.task, "code"),
                Fact("fires", "Fires", plan.fires(), "code"),
                Fact("tz", "Zone", plan.tz, "code"),
                Fact("overlap", "If the last run has not ended", plan.overlap),
                Fact("missed", "Missed fire times", plan.missed),
                Fact("source", "Made by", row.source),
                Fact("last_fire_at", "Last fire time", row.last_fire_at, "time"),
                Fact("last_job_id", "Its job", row.last_job_id, "id", path_to("jobs", row.last_job_id) if row.last_job_id else None),
                Fact("last_job_state", "State of that job", row.last_job_state, "state" if row.last_job_state else "text"),
            ],
        ),
        _next_times(row, asked.now),
        Document(name="args", title="Arguments of its jobs", value=row.shown_args),
    ]  # fmt: skip
    actions = [
        Action("run_schedule", {"schedule": name}),
        Action("resume_schedule", {"schedule": name})
        if row.paused
        else Action("pause_schedule", {"schedule": name}),
    ]
    return Page(
        name="schedule", title=name, path=path_to("schedules", name), blocks=blocks, above=("Schedules", path_to("schedules")),
        actions=actions, state=row.state,
    )  # fmt: skip


def _row(row: ScheduleRow) -> Row:
    return {
        "name": row.schedule.name,
        "state": row.state,
        "fires": row.schedule.fires(),
        "tz": row.schedule.tz,
        "task": row.schedule.task,
        "last_at": row.last_fire_at,
        "last_run": row.last_run,
        "next_at": row.next_fire_at,
    }


def _next_times(row: ScheduleRow, now: datetime) -> Table:
    rows: list[Row] = []
    try:
        timing: Timing = row.schedule.timing()
        place = zone(row.schedule.tz or "UTC")
        rows = [
            {
                "at": at,
                "local": f"{at.astimezone(place):%a %Y-%m-%d %H:%M:%S %Z}",
                "remark": timing.remark(at) or None,
            }
            for at in islice(timing.after(now), NEXT)
        ]
    except PgQueueError:  # the notice about the problem says why
        pass
    return Table(
        name="next", title="Next fire times", rows=rows, empty="It never fires again.",
        columns=(
            Column("at", "In", "time"),
            Column("local", f"On the clocks of {row.schedule.tz or 'UTC'}", "code"),
            Column("remark", "Change of the clocks"),
        ),
    )  # fmt: skip
