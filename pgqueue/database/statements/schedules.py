"""The statements of schedules: for schedulers, for workers that declare schedules and tasks, and for ``pgq cron``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgqueue.config import secret_names
from pgqueue.database.statements.decoding import column, maybe_array, nothing, one, plain, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.redaction import Redaction, redacted_text
from pgqueue.model.schedule import COLUMNS, Plan, Schedule
from pgqueue.model.shown_job import redaction_of
from pgqueue.sql import JsonObject, Row, Statement


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that a scheduler must handle now. ``version``: the version of its row. ``model.schedule.plan`` explains the other fields."""

    id: int
    version: str
    schedule: Schedule
    edited_at: datetime
    next_at: datetime | None
    over: bool


@dataclass(frozen=True, slots=True)
class ScheduleLook:
    """What a scheduler has read: ``now`` is the database's time, ``due`` are the schedules that the scheduler must handle.

    ``nearest``: seconds until the next fire time of any other schedule; None: there is none. ``waiting``: whether a run waits for the
    end of another run of its schedule.
    """

    now: datetime
    nearest: float | None
    waiting: bool
    due: list[DueSchedule]


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule with its last run and its next fire time. ``last_run`` is enqueued, waiting, skipped, missed or duplicate.

    ``state`` is on, new (its next fire time is not known yet), over (it never fires again), paused or problem.
    """

    schedule: Schedule
    source: str
    paused: bool
    problem: str | None
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    last_run: str | None
    last_job_id: int | None
    last_job_state: str | None
    waiting: int
    state: str
    redact: Redaction

    @property
    def shown_args(self) -> object:
        """The arguments as people see them: secret values are masked."""
        return redacted_text(plain(self.schedule.args), self.redact.args, secret_names())


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as workers have declared it. ``workers``: how many living workers know the task. ``redact``: what is secret in its jobs."""

    name: str
    app: str
    options: JsonObject
    keep: str
    seen_at: datetime
    workers: int
    redact: Redaction


def _task(row: Row) -> TaskRow:
    name, app, options, keep, seen_at, workers, redact = row
    return TaskRow(name, app, plain(options), keep, seen_at, workers, Redaction.of_json(plain(redact)))


def _schedule(row: Row) -> Schedule:
    name, task, cron, every, at, anchor, tz, overlap, missed, missed_cap, jitter, args, options = row
    return Schedule(
        name=name, task=task, cron=cron, every=every, at=at, anchor=anchor, tz=tz, overlap=overlap, missed=missed,
        missed_cap=missed_cap, jitter=jitter, args=args, options=plain(options),
    )  # fmt: skip


def _definition(schedule: Schedule) -> dict[str, object]:
    columns = {name: getattr(schedule, name) for name in COLUMNS}
    return {**columns, "options": json.dumps(dict(schedule.options))}


def _look(rows: Sequence[Row]) -> ScheduleLook:
    now, nearest, waiting = rows[0][:3]
    due = [
        DueSchedule(row[3], row[4], _schedule(row[5:18]), row[18], row[19], row[20])
        for row in rows
        if row[3] is not None
    ]
    return ScheduleLook(now, nearest, waiting, due)


def find_due_schedules(
    moment: datetime | None, broken: bool, count: int, only: Sequence[int] | None = None
) -> Statement[ScheduleLook]:
    """Finds up to ``count`` schedules that a scheduler must handle at ``moment`` (None: now, by the database's clock).

    ``broken``: finds schedules with a problem, too. ``only``: if it is not None, finds only schedules whose ids are in it.
    """
    return statement(
        "find_due_schedules", _look, moment=moment, broken=broken, count=count, only=maybe_array(only)
    )


def list_schedule_versions() -> Statement[list[tuple[int, str]]]:
    """Returns (id, version of the row) for each schedule that is not paused. ``find_due_schedules`` chooses from these."""
    return statement("list_schedule_versions", lambda rows: [(row[0], row[1]) for row in rows])


def fire_schedules(plans: Iterable[tuple[DueSchedule, Plan]]) -> Statement[dict[int, int | None]]:
    """Enqueues the planned jobs. Returns their number for each schedule's id. None: the row was edited or locked by another transaction."""
    items = [{"id": due.id, "version": due.version, **plan._asdict()} for due, plan in plans]
    return statement(
        "fire_schedules",
        lambda rows: {row[0]: row[1] for row in rows},
        plans=json.dumps(items, default=datetime.isoformat),
    )


def note_problem(schedule_id: int, version: str, problem: str) -> Statement[bool]:
    return statement("note_problem", bool, schedule_id=schedule_id, version=version, problem=problem)


def sync_schedules(
    app: str,
    fingerprint: str,
    declared: Sequence[Schedule],
    seconds: float,
    tasks: Sequence[str],
    *,
    named: bool,
) -> Statement[list[tuple[str | None, str]]]:
    """Returns (schedule, a word that says what happened to it) for some schedules, and last (None, such a word) for the whole set.

    The comment of functions/sync_schedules.sql explains the words.
    """
    return statement(
        "sync_schedules",
        lambda rows: [(row[0], row[1]) for row in rows],
        app=app,
        fingerprint=fingerprint,
        declared=json.dumps([schedule.as_row() for schedule in declared]),
        seconds=seconds,
        tasks=list(tasks),
        named=named,
    )


def sync_tasks(app: str, declared: Sequence[Mapping[str, object]], seconds: float) -> Statement[None]:
    """Writes a row for each declared task. ``declared``: name, options and keep of each task."""
    return statement("sync_tasks", nothing, app=app, declared=json.dumps(declared), seconds=seconds)


def list_shared_names() -> Statement[list[str]]:
    """Returns the names of apps that several living services use, probably by accident."""
    return statement("list_shared_names", column)


def list_tasks(name: str | None = None) -> Statement[list[TaskRow]]:
    return statement(
        "list_tasks",
        lambda rows: [_task(row) for row in rows],
        name=name,
    )


def add_schedule(schedule: Schedule, *, who: Who | None = None) -> Statement[int | None]:
    """Adds a schedule. Returns its id. None: another schedule has the name."""
    return noted("add_schedule", who, one, **_definition(schedule))


def edit_schedule(schedule: Schedule, *, who: Who | None = None) -> Statement[bool]:
    """Changes the schedule that has this name. Returns whether there is one."""
    return noted("edit_schedule", who, bool, **_definition(schedule))


def pause_schedule(name: str, paused: bool, *, who: Who | None = None) -> Statement[bool]:
    """Pauses or resumes a schedule. Returns whether there is such a schedule."""
    return noted("pause_schedule", who, bool, name=name, paused=paused)


def remove_schedule(name: str, *, who: Who | None = None) -> Statement[str | None]:
    """Removes a schedule. Returns its source: sql, cli or code. None: there is no such schedule."""
    return noted("remove_schedule", who, one, name=name)


def run_schedule(name: str, *, who: Who | None = None) -> Statement[int | None]:
    """Enqueues a job of the schedule now. Returns the job's id; None: there is no such schedule."""
    return noted("run_schedule", who, one, name=name)


def _schedule_row(row: Row) -> ScheduleRow:
    schedule = _schedule(row[:13])
    (
        source,
        paused,
        problem,
        next_fire_at,
        last_fire_at,
        last_run,
        last_job_id,
        last_job_state,
        waiting,
        state,
        redact,
    ) = row[13:]
    return ScheduleRow(
        schedule, source, paused, problem, next_fire_at, last_fire_at, last_run, last_job_id, last_job_state, waiting, state,
        redaction_of(schedule.task, plain(redact)),
    )  # fmt: skip


def list_schedules(name: str | None = None) -> Statement[list[ScheduleRow]]:
    return statement(
        "list_schedules",
        lambda rows: [_schedule_row(row) for row in rows],
        name=name,
    )


def purge_runs(count: int) -> Statement[int]:
    return statement("purge_runs", one, count=count)
