"""The causes of alerts, as the leader finds them in queues and tasks, and the alerts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Front:
    """The first due job of a lane, or the first due job of one key in a lane. It has been due for ``age`` seconds.

    ``max_age``: an alert is raised when a job of this queue has been due for longer than this many seconds; None if the queue has no such
    setting. ``queue_served``: whether a living worker serves the queue. ``task_served``: whether such a worker knows the job's task.
    ``queue_served`` and ``task_served`` are computed only for the oldest front of each queue, which comes before the queue's other fronts.
    For the other fronts, they are False. ``version``: such workers know the task, but none accepts this version of the job's checkpoints.
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
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A task with dead jobs. ``count`` jobs died since ``first_at`` (at most 1000 are counted). Job ``job_id`` died last, of ``error``."""

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
    """An alert that was just opened (``opened`` is True) or just resolved (``opened`` is False)."""

    id: int
    kind: str
    subject: str
    text: str
    opened: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of pgqueue.alerts. ``count``: if ``kind`` is dead, how many jobs died; otherwise how often the leader has found the cause.

    ``messages``: how many messages about the alert were sent. ``sent_at``: when the last message was sent. ``muted_until``: until when no
    messages about the alert are sent; None if it is not muted.
    """

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
