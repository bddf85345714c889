"""What a look at queues and tasks finds wrong, and the alerts that are raised about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Front:
    """The first due job of a lane, or of a key in the lane. It is overdue by ``age`` seconds; its queue may have a ``max_age``.

    The oldest front of each queue comes first. Only this one says whether workers serve its queue and its task.
    """

    queue: str
    priority: int
    key: str | None
    job_id: int
    task: str
    run_at: float
    age: float
    max_age: float | None
    queue_served: bool
    task_served: bool


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A task whose jobs have died: ``count`` of them (1000 at most) since ``first_at``; ``job_id`` is the newest."""

    task: str
    queue: str
    job_id: int
    error: str | None
    count: int
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an alert is open: ``kind`` is dead, stalled or late, and ``subject`` the task or queue."""

    kind: str
    subject: str
    text: str
    queue: str | None = None
    job_id: int | None = None
    count: int = 1
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert that opened, or was resolved."""

    id: int
    kind: str
    subject: str
    text: str
    opened: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """``count``: the dead jobs, or how often the leader saw the cause. ``muted_until`` None: it is not muted."""

    id: int
    kind: str
    subject: str
    queue: str | None
    job_id: int | None
    count: int
    first_at: datetime
    last_at: datetime
    resolved_at: datetime | None
    muted_until: datetime | None
    messages: int
    sent_at: datetime | None
    text: str
