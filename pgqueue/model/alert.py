"""The causes of alerts, as the leader finds them in queues and tasks, and the alerts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Front:
    """The first due job of a lane, or the first due job of one key in a lane. It has been due for ``age`` seconds.

    ``max_age``: how many seconds a job of its queue may be due before an alert is raised; None if the queue has no such setting.
    ``queue_served``: whether a living worker serves its queue. ``task_served``: whether such a worker knows its task. These two are found
    only for the oldest front of each queue, which comes before the other fronts of the queue. For the other fronts, they are False.
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
    """A task with dead jobs. ``count`` jobs died since ``first_at`` (at most 1000 are counted). ``job_id`` died last, with ``error``."""

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
    """A row of pgqueue.alerts. ``count``: if ``kind`` is dead, how many jobs died; otherwise how often the leader has found the cause.

    ``messages``: how many messages were sent about it, and ``sent_at``: when the last one was sent. ``muted_until`` None: it is not muted.
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
