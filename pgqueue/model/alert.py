"""The causes of alerts, as the leader finds them in queues and tasks, and the alerts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Front:
    """The first due job of a lane, or the first due job of one key in a lane. It has been due for ``age`` seconds.

    ``max_age`` is a setting of its queue, or None. The oldest front of each queue comes first in the list. Only for that front,
    ``queue_served`` and ``task_served`` say whether a living worker serves its queue and knows its task.
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
    """A task with dead jobs: ``count`` of them (1000 at most) since ``first_at``. The newest is ``job_id``, with its ``error``."""

    task: str
    queue: str
    job_id: int
    error: str | None
    count: int
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of an alert. ``kind`` is dead, stalled or late. ``subject`` is the task (dead) or the queue (stalled, late)."""

    kind: str
    subject: str
    text: str
    queue: str | None = None
    job_id: int | None = None
    count: int = 1
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An alert that has just opened (``opened``), or was just resolved (not ``opened``)."""

    id: int
    kind: str
    subject: str
    text: str
    opened: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """``count``: the number of dead jobs, or how often the leader has found the cause. ``muted_until`` None: the alert is not muted."""

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
