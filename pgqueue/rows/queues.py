"""What statements return of queues, of limits and of the workers that serve them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Counts of a queue's jobs; ``oldest_due`` in seconds since the oldest due job might have run."""

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
class QueueUse:
    """What keeps a queue from being removed: unfinished and dead jobs, living workers that name it; ``known`` if it had a row."""

    jobs: int
    workers: int
    known: bool


@dataclass(frozen=True, slots=True)
class Unserved:
    """Due jobs that no living worker takes; ``queue_served`` tells whether it is only the task that none knows.

    ``app``: whose worker declared the task last, if any has.
    """

    queue: str
    task: str
    count: int
    age: float
    queue_served: bool
    app: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit's row (``period`` in seconds), what of it is taken, of how many keys all is, and when the last of those is free."""

    id: int
    queue: str | None
    task: str | None
    per_key: bool
    key: str | None
    concurrency: int | None
    rate: int | None
    period: float | None
    sliding: bool
    burst: int | None
    share: int | None
    taken: int
    full_keys: int
    free_at: datetime | None


@dataclass(frozen=True, slots=True)
class Miscount:
    """A seat of which ``counted`` was taken, but ``held`` by running jobs."""

    limit_id: int
    key: str
    counted: int
    held: int


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """Of each of ``queues``: ``queue_slots`` of its own, or None, and ``queue_taken`` of them."""

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


@dataclass(frozen=True, slots=True)
class Term:
    """Whether this worker leads; if not, in how many seconds the lease of the one who leads is over unless renewed."""

    leads: bool
    left: float
