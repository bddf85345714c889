"""What the rows of a statement mean, where a plain value would not say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pgqueue.schedule import Schedule


class Stored(NamedTuple):
    """What became of one enqueued item; ``conflict`` names the key that an existing job ``id`` holds.

    ``result`` and ``error`` are that job's, if it is finished.
    """

    id: int
    created: bool
    state: str | None
    conflict: str | None
    result: Any = None
    error: str | None = None


class Round(NamedTuple):
    """What a claim by turns found, in their order: rows of ``claim``, the key whose turn each was, and a place in front of which none is left."""

    rows: list[Sequence[Any]]
    turns: list[str]
    since: str | None


@dataclass(frozen=True, slots=True)
class Lanes:
    """What there is to claim. ``lanes``: queue and priority, with the seconds until the first job is due (negative: overdue).

    ``keyed``: lanes of jobs with keys, with the place of the first one. ``limited``: queues under limits that are not by key, None for any. ``later``: seconds until
    the next job with a key is due, or a seat under a rate is free; None if neither is known.
    """

    lanes: dict[tuple[str, int], float]
    keyed: dict[tuple[str, int], str]
    limited: list[str | None]
    later: float | None


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
class Locker:
    """A transaction that has locked ``table``; ``pid`` None: a prepared one."""

    pid: int | None
    user: str
    application: str
    state: str
    age: float | None
    table: str

    def __str__(self) -> str:
        who = f"session {self.pid}" if self.pid else "a prepared transaction"
        about = ", ".join(part for part in (self.user, self.application, self.state) if part)
        since = "" if self.age is None else f", for {self.age:.0f} s"
        return f"{who} ({about}){since}, on {self.table}"


@dataclass(frozen=True, slots=True)
class Miscount:
    """A seat of which ``counted`` was taken, but ``held`` by running jobs."""

    limit_id: int
    key: str
    counted: int
    held: int


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
class Swept:
    """A job that nobody may run any more: expired, past its deadline, or asked to stop."""

    id: int
    task: str
    state: str
    reason: str


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
class TimelineEntry:
    """What happened to a job, by the view job_timeline; the worker's host and pid as far as its row is still there."""

    at: datetime
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: int | None
    host: str | None
    pid: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs share these; None for what was not asked by, or of jobs without a tag."""

    task: str | None
    queue: str | None
    state: str | None
    tag: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running: one word for programs, a sentence for people, and what is known of its end.

    ``until`` is when the reason ends, ``ahead`` how many due jobs come first (counted to 10,000), ``do`` a command that helps.
    """

    reason: str
    sentence: str
    until: datetime | None
    ahead: int | None
    do: str | None


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
class Kept:
    """What keeps a queue from being removed: unfinished and dead jobs, living workers that name it; ``known`` if it had a row."""

    jobs: int
    workers: int
    known: bool


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
class Server:
    """A database as pgqueue finds it: ``version`` as 180006, ``installed`` if our tables exist."""

    version: int
    in_recovery: bool
    installed: bool
    database: str
    user: str
    encoding: str


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
class TaskRow:
    """What workers have said of a task. ``workers``: how many that live know it."""

    name: str
    app: str
    options: dict[str, Any]
    keep: str
    seen_at: datetime
    workers: int


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
