"""The statements with which people read about queues and workers, and change queues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.sql import Statement


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The numbers of a queue's jobs. ``oldest_due``: for how many seconds the oldest due job has been due."""

    queue: str
    paused: bool
    due: int
    scheduled: int
    waiting: int
    running: int
    oldest_due: float | None
    dead: int
    workers: int


@dataclass(frozen=True, slots=True)
class QueueCount:
    """The numbers of a queue's unfinished jobs. ``is_exact``: otherwise ``due``, ``scheduled`` and ``waiting`` are estimates.

    ``oldest_due``: for how many seconds the oldest due job has been due, of those that were read.
    """

    queue: str
    paused: bool
    is_exact: bool
    due: int
    scheduled: int
    waiting: int
    running: int
    oldest_due: float | None
    workers: int


@dataclass(frozen=True, slots=True)
class QueueUse:
    """Why a queue cannot be removed: the number of its unfinished and dead ``jobs``, and of living ``workers`` that serve it by its name.

    ``known``: whether the queue had a row.
    """

    jobs: int
    workers: int
    known: bool


@dataclass(frozen=True, slots=True)
class Unserved:
    """Due jobs of one queue and task that no living worker claims. ``queue_served``: workers serve the queue, but none knows the task.

    ``app``: the app that declared the task last. None: no app has declared it. ``version``: workers know the task, but none accepts this
    version of the jobs' checkpoints. ``is_quiet``: a worker knows the task, but takes no more jobs.
    """

    queue: str
    task: str
    count: int
    age: float
    queue_served: bool
    app: str | None
    version: int | None
    is_quiet: bool


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker. ``queue_slots``: for each of ``queues``, the number of slots for this queue alone, or None.

    ``queue_taken``: how many of these slots are taken. ``version``: of pgqueue. ``app_version``: of the worker's app. ``accepts``: the versions
    of tasks that the worker accepts, as ``task@version``.
    """

    id: int
    host: str
    pid: int
    version: str
    executor: str
    slots: int
    queues: list[str]
    state: str
    started_at: datetime
    heartbeat_at: datetime
    expires_at: datetime
    running: int
    queue_slots: list[int | None]
    queue_taken: list[int | None]
    blocked_since: datetime | None
    blocked_by: list[int] | None
    app_version: str | None
    accepts: list[str]


def list_queues() -> Statement[list[QueueDepth]]:
    return statement("list_queues", each(QueueDepth))


def count_queues(pages: int = 2000) -> Statement[list[QueueCount]]:
    """Counts the unfinished jobs of each queue. Reads at most about ``pages`` pages of the table, and estimates if there are more."""
    return statement("count_queues", each(QueueCount), pages=pages)


def count_dead(most: int = 100_000) -> Statement[dict[str, int]]:
    """Returns how many dead jobs each queue has. Counts at most ``most`` jobs."""
    return statement("count_dead", lambda rows: {row[0]: row[1] for row in rows}, most=most)


def pause_queue(queue: str, *, who: Who | None = None) -> Statement[bool]:
    """Pauses a queue. Returns whether the queue had no row, so that this statement made the row."""
    return noted("pause_queue", who, one, queue=queue)


def resume_queue(queue: str, *, who: Who | None = None) -> Statement[bool]:
    """Resumes a queue. Returns whether the queue has a row."""
    return noted("resume_queue", who, bool, queue=queue)


def remove_queue(queue: str, *, who: Who | None = None) -> Statement[QueueUse]:
    return noted("remove_queue", who, lambda rows: QueueUse(*rows[0][:3]), queue=queue)


def list_workers(ended: bool) -> Statement[list[WorkerRow]]:
    return statement("list_workers", each(WorkerRow), ended=ended)


def find_unserved() -> Statement[list[Unserved]]:
    return statement("find_unserved", each(Unserved))
