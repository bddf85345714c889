"""What the rows of a statement mean, where a plain value would not say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class Stored(NamedTuple):
    """What became of one enqueued item; ``conflict`` names the key that an existing job ``id`` holds."""

    id: int
    created: bool
    state: str | None
    conflict: str | None


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue and a priority with unclaimed jobs, the earliest due in ``due_in`` seconds (negative: overdue)."""

    queue: str
    priority: int
    due_in: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A renewed lease, and the jobs of this worker that were asked to stop."""

    worker_id: int
    cancelled: list[int]


@dataclass(frozen=True, slots=True)
class Term:
    """Whether this worker leads; if not, in how many seconds the lease of the one who leads is over unless renewed."""

    leads: bool
    left: float


@dataclass(frozen=True, slots=True)
class Rescued:
    id: int
    task: str
    state: str
    worker_id: int


@dataclass(frozen=True, slots=True)
class Transition:
    at: datetime
    from_state: str
    to_state: str
    reason: str
    attempt: int
    lease_id: int
    worker_id: int | None
    run_at: datetime | None
    error: str | None
    traceback: str | None


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
class WorkerRow:
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


@dataclass(frozen=True, slots=True)
class Server:
    """A database as pgqueue finds it: ``version`` as 180006, ``installed`` if our tables exist."""

    version: int
    in_recovery: bool
    installed: bool
    database: str
    user: str


@dataclass(frozen=True, slots=True)
class Unserved:
    """Due jobs that no living worker takes; ``queue_served`` tells whether it is only the task that none knows."""

    queue: str
    task: str
    count: int
    age: float
    queue_served: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who holds back vacuum: ``kind`` is session, standby, slot, catalog slot or prepared transaction.

    ``age`` in seconds, None if it is not known; ``transactions`` is the same in transactions.
    """

    kind: str
    name: str
    pid: int | None
    user: str | None
    application: str | None
    state: str | None
    age: float | None
    transactions: int
    query: str | None


@dataclass(frozen=True, slots=True)
class DayChange:
    """What became of a day's table; ``what`` is made, attached, dropped, locked, crowded or refused."""

    name: str
    what: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a table: missing, detached, detaching, or default (it holds rows)."""

    name: str
    fault: str
    size: int


@dataclass(frozen=True, slots=True)
class IndexFault:
    """An index of jobs_live that is outgrown or invalid; ``ours`` if this role may mend it."""

    name: str
    fault: str
    size: int
    live: int
    ours: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """jobs_live and its claim index: rows by the server's estimate, sizes in bytes."""

    live: int
    dead: int
    table: int
    claim_index: int
    vacuumed: bool


@dataclass(frozen=True, slots=True)
class Front:
    """The first due job of a lane, overdue by ``age`` seconds; ``max_age`` of its queue in seconds, if it has one."""

    queue: str
    priority: int
    job_id: int
    task: str
    run_at: float
    age: float
    max_age: float | None
    queue_served: bool
    task_served: bool


@dataclass(frozen=True, slots=True)
class DeadTask:
    """A task of which jobs have died, ``count`` of them (1000 at most) since ``first_at``; ``job_id`` is the newest."""

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
