"""What statements return of schedules and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgqueue.schedule import Schedule


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that wants something, as of ``version``; see ``schedule.plan`` for the rest."""

    id: int
    version: str
    schedule: Schedule
    edited_at: datetime
    next_at: datetime | None
    over: bool


@dataclass(frozen=True, slots=True)
class Look:
    """A scheduler's look at the table: ``nearest`` is in how many seconds the next fire time of any other schedule comes."""

    now: datetime
    nearest: float | None
    waiting: bool
    due: list[DueSchedule]


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule with its last run and its next; ``last_run`` is enqueued, waiting, skipped, missed or duplicate.

    ``state`` is on, new (not planned yet), over, paused or problem.
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


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What workers have said of a task. ``workers``: how many that live know it."""

    name: str
    app: str
    options: dict[str, Any]
    keep: str
    seen_at: datetime
    workers: int
