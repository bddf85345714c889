"""``pgq cron``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, NamedTuple

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.decoding import plain
from pgqueue.database.statements.schedules import ScheduleRow
from pgqueue.errors import (
    InvalidArgumentsError,
    InvalidScheduleError,
    ScheduleExistsError,
    ScheduleNotFoundError,
)
from pgqueue.model.fire_times import ALIASES, Cron, Timing, zone
from pgqueue.model.schedule import COLUMNS, Schedule, make
from pgqueue.sql import JsonObject
from pgqueue.text.nearest import guess
from pgqueue.text.times import ago
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, Reveal, database
from pgqueue.ui.cli.options import spread
from pgqueue.ui.cli.output import emit, emit_items, say
from pgqueue.ui.cli.tables import table

commands = typer.Typer(help="See, make and change schedules.", no_args_is_help=True)

ScheduleName = Annotated[str, typer.Argument(help="The schedule's name.")]
TaskName = Annotated[str, typer.Argument(help="The task's name.")]
NewTask = Annotated[str | None, typer.Option("--task", help="The new task.", show_default=False)]
Expr = Annotated[
    str | None,
    typer.Option("--cron", metavar="EXPR", help="A cron expression: '0 9 * * MON-FRI', @hourly."),
]
Interval = Annotated[
    str | None, typer.Option("--every", metavar="DURATION", help="An interval: 90s, 5m, 1h30m.")
]
Single = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="A single fire time: 2030-01-01T09:00+01:00.")
]
Anchor = Annotated[
    str | None, typer.Option("--anchor", metavar="TIME", help="The time from which --every counts.")
]
Zone = Annotated[
    str | None,
    typer.Option("--tz", metavar="ZONE", help="The IANA name of a time zone. A new schedule has UTC."),
]
OverlapText = Annotated[
    str | None,
    typer.Option(
        "--overlap", help="If the last run has not ended: queue (default), skip, cancel-old, allow."
    ),
]
MissedText = Annotated[
    str | None, typer.Option("--missed", help="For missed fire times: once (default), skip, all.")
]
Cap = Annotated[
    int | None,
    typer.Option(
        "--missed-cap", metavar="N", help="With --missed all: only the last N fire times; default: 100."
    ),
]
Jitter = Annotated[
    str | None,
    typer.Option(
        "--jitter",
        metavar="DURATION",
        help="Delay each job by up to this time. The delay is computed from the name and the fire time, so it is the same on every host.",
    ),
]
Args = Annotated[str | None, typer.Option("--args", metavar="JSON", help="The job's arguments.")]
Queue = Annotated[str | None, typer.Option("--queue", help="The job's queue.")]
Priority = Annotated[int | None, typer.Option("--priority", help="Smaller numbers run first.")]
Attempts = Annotated[int | None, typer.Option("--max-attempts", help="Attempts before the job is dead.")]


# The options that ``add`` and ``edit`` share: a schedule's columns, and the options of its jobs.
SCHEDULE_OPTIONS: dict[str, object] = {
    "cron": Expr, "every": Interval, "at": Single, "anchor": Anchor, "tz": Zone, "overlap": OverlapText,
    "missed": MissedText, "missed_cap": Cap, "jitter": Jitter, "args": Args,
}  # fmt: skip
JOB_OPTIONS: dict[str, object] = {"queue": Queue, "priority": Priority, "max_attempts": Attempts}


class Given(NamedTuple):
    """The options that a command line gives. ``columns``: values for the schedule's row.

    ``options``: the options of the schedule's jobs.
    """

    columns: JsonObject
    options: JsonObject


def _gather(values: JsonObject) -> Given:
    given = {name: value for name, value in values.items() if value is not None}
    options = {name: given.pop(name) for name in JOB_OPTIONS if name in given}
    for name in ("at", "anchor"):
        if name in given:
            given[name] = _moment(f"--{name}", given[name])
    if "args" in given:
        given["args"] = _args(given["args"])
    return Given(given, options)


with_schedule_options = spread("given", {**SCHEDULE_OPTIONS, **JOB_OPTIONS}, _gather)


@commands.command("list")
def list_schedules(reveal: Reveal = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List schedules with their last run and their next fire time."""
    with database(dsn) as connection:
        found = run(connection, statements.list_schedules())
    if as_json:
        emit_items([as_item(row, reveal=reveal) for row in found])
        return
    table(
        (
            tables.name("name"),
            tables.name("task"),
            tables.name("fires"),
            tables.name("tz"),
            tables.name("state"),
            "last",
            "last_run",
            "next",
            "source",
        ),
        [
            (
                row.schedule.name,
                row.schedule.task,
                row.schedule.fires(),
                row.schedule.tz,
                row.problem or ("" if row.state == "on" else row.state),
                ago(row.last_fire_at),
                row.last_job_state or row.last_run,
                ago(row.next_fire_at),
                row.source,
            )
            for row in found
        ],
        empty="There is no schedule.",
    )


@commands.command()
@with_schedule_options
def add(
    name: ScheduleName,
    task: TaskName,
    given: Given,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Add a schedule. A running worker reads it within two seconds."""
    made = make(name, task, **given.columns, options=given.options)
    with database(dsn) as connection:
        if run(connection, statements.add_schedule(made, who=operator())) is None:
            raise ScheduleExistsError(
                f"There is a schedule {name!r} already.", do=f"pgq cron edit {name}, or use another name"
            )
        made = _find(connection, name).schedule  # the stored schedule also has an anchor
    _print_change("added", made, as_json)


@commands.command()
@with_schedule_options
def edit(
    name: ScheduleName,
    *,
    task: NewTask = None,
    given: Given,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Change the values of a schedule for which options are given. If code declares it, the change holds until the declaration changes."""
    changes = given.columns if task is None else {**given.columns, "task": task}
    if not changes and not given.options:
        raise InvalidScheduleError("The edit changes nothing.", do="give a change, such as --every 5m")
    with database(dsn) as connection:
        before = _find(connection, name).schedule
        columns = {column: getattr(before, column) for column in COLUMNS}
        if {"cron", "every", "at"} & set(changes):
            columns.update(cron=None, every=None, at=None)
        if not isinstance(columns["options"], dict):
            columns["options"] = {}
        columns.update(changes, options={**columns["options"], **given.options})
        made = make(columns.pop("name"), columns.pop("task"), **columns)
        run(connection, statements.edit_schedule(made, who=operator()))
        made = _find(connection, name).schedule
    _print_change("edited", made, as_json)


@commands.command()
def pause(name: ScheduleName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Stop a schedule from firing until it is resumed. A deploy does not end the pause."""
    _pause(name, True, as_json, dsn)


@commands.command()
def resume(name: ScheduleName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Let a schedule fire again, from now on."""
    _pause(name, False, as_json, dsn)


@commands.command()
def remove(name: ScheduleName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Remove a schedule; its jobs stay."""
    with database(dsn) as connection:
        source = run(connection, statements.remove_schedule(name, who=operator()))
        if source is None:
            _find(connection, name)
    if as_json:
        emit({"schedule": name, "removed": True})
        return
    say("removed", name)
    if source == "code":
        say(
            "note",
            "the code declares this schedule, so it comes back when the code's schedules change; pause it instead",
        )


@commands.command("run")
def run_now(name: ScheduleName, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Enqueue a job of a schedule now, even if the schedule is paused."""
    with database(dsn) as connection:
        job_id = run(connection, statements.run_schedule(name, who=operator()))
        if job_id is None:
            _find(connection, name)
    if as_json:
        emit({"schedule": name, "job_id": job_id})
        return
    say("enqueued", f"job {job_id} of schedule {name}")
    print(job_id)


@commands.command("next")
def show_next(
    what: Annotated[
        str, typer.Argument(metavar="NAME|EXPR", help="A schedule, or an expression such as '30 2 * * *'.")
    ],
    tz: Zone = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000)] = 5,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Only fire times later than this.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show the next fire times, with a note if the clocks change on that day. For an expression, no database is needed."""
    after = _moment("--from", since) or datetime.now(UTC)
    if " " in what.strip() or what.strip().lower() in ALIASES:
        local = zone(tz or "UTC")
        timing: Timing = Cron(what, local)
    else:
        with database(dsn) as connection:
            schedule = _find(connection, what).schedule
        timing, local = schedule.timing(), zone(tz or schedule.tz)
    fires = [(at, at.astimezone(local), timing.remark(at)) for at in islice(timing.after(after), count)]
    if as_json:
        emit({"items": [{"at": at, "local": str(wall), "note": note} for at, wall, note in fires]})
        return
    table(
        ("local", "utc", tables.name("note")),
        [(f"{wall:%a %Y-%m-%d %H:%M:%S %z}", f"{at:%Y-%m-%d %H:%M:%S}", note) for at, wall, note in fires],
        empty="There is no next fire time.",
    )


def as_item(row: ScheduleRow, *, reveal: bool = False) -> dict[str, object]:
    schedule = row.schedule
    options = schedule.options
    return {
        "name": schedule.name, "task": schedule.task, "cron": schedule.cron, "every": schedule.every, "at": schedule.at,
        "anchor": schedule.anchor, "tz": schedule.tz, "overlap": schedule.overlap, "missed": schedule.missed,
        "missed_cap": schedule.missed_cap, "jitter": schedule.jitter, "args": plain(schedule.args) if reveal else row.shown_args,
        "options": options, "source": row.source, "state": row.state, "paused": row.paused, "problem": row.problem,
        "next_fire_at": row.next_fire_at, "last_fire_at": row.last_fire_at, "last_run": row.last_run,
        "last_job_id": row.last_job_id, "last_job_state": row.last_job_state, "waiting": row.waiting,
    }  # fmt: skip


def _pause(name: str, paused: bool, as_json: bool, dsn: str | None) -> None:
    with database(dsn) as connection:
        if not run(connection, statements.pause_schedule(name, paused, who=operator())):
            _find(connection, name)
    if as_json:
        emit({"schedule": name, "paused": paused})
    else:
        say("paused" if paused else "resumed", name)


def _find(connection: Connection, name: str) -> ScheduleRow:
    """Returns the schedule. If there is none, raises a ScheduleNotFoundError that suggests similar names."""
    if found := run(connection, statements.list_schedules(name)):
        return found[0]
    names = [row.schedule.name for row in run(connection, statements.list_schedules())]
    raise ScheduleNotFoundError(
        f"There is no schedule {name!r:.80}.",
        do=guess(name, names, "known: " + (", ".join(names[:20]) or "none")),
    )


def _print_change(what: str, schedule: Schedule, as_json: bool) -> None:
    coming = next(schedule.timing().after(datetime.now(UTC)), None)
    if as_json:
        emit({"schedule": schedule.name, "result": what, "next_fire_at": coming})
    else:
        say(what, f"{schedule.name}  {schedule.fires()}  {schedule.tz}")
        say("next", f"{coming.astimezone(zone(schedule.tz)):%a %Y-%m-%d %H:%M:%S %z}" if coming else "never")


def _args(text: str) -> str:
    from pgqueue.model.payload import ARGS_LIMIT, check_text

    try:
        if not isinstance(json.loads(text), dict):
            raise InvalidArgumentsError(
                "--args is not a JSON object.", do="""write it like '{"name": "Ada"}'"""
            )
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentsError(
            f"--args is not JSON: {error}.", do="""write it like '{"name": "Ada"}'"""
        ) from None
    return check_text(text.encode("utf-8", "surrogatepass"), "--args", ARGS_LIMIT)


def _moment(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidScheduleError(
            f"{flag} is {text!r:.40}.", do="write it with its zone, like 2030-01-01T09:00+01:00"
        )
    return found.astimezone(UTC)
