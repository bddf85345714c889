"""The answers of the routes: their shapes, and how rows become these shapes. Ids are texts, because JavaScript rounds numbers above 2^53."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict

from pgqueue.app.handle import JobHandle
from pgqueue.database.statements.jobs import JobEvent, TimelineEntry, Why
from pgqueue.database.statements.queues import QueueCount, WorkerRow
from pgqueue.model.job import Job

# ``status_url``: the path at which a caller can ask for the job's state. The glossary refuses the word for names in the code.
Linked = TypedDict("Linked", {"status_url": str})  # noqa: UP013
MaybeLinked = TypedDict("MaybeLinked", {"status_url": NotRequired[str]})  # noqa: UP013


class StoredJob(Linked):
    """``created`` false: the job was stored before, and ``conflict`` says which of its keys this request has."""

    id: str
    state: str
    created: bool
    conflict: str | None


class StoredJobs(TypedDict):
    jobs: list[StoredJob]


class ShownJob(TypedDict):
    id: str
    queue: str
    task: str
    state: str
    args: Any
    meta: Any
    tags: list[str]
    priority: int
    attempt: int
    max_attempts: int
    crash_count: int
    cancel_requested: bool
    run_at: str | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    deadline_at: str | None
    timeout: float | None
    worker_id: str | None
    unique_key: str | None
    concurrency_key: str | None
    version: int | None
    progress: Any
    result: Any
    last_error: str | None
    last_traceback: str | None


class JobPage(TypedDict):
    """``next``: the value of ``after`` for the next page; null: this is the last page."""

    items: list[ShownJob]
    next: str | None


class EndedJob(MaybeLinked):
    id: str
    state: str
    result: NotRequired[Any]


class ChangedJob(Linked):
    """``state``: cancelled, requested (the job runs, and its worker is asked to stop it), pending, or sent."""

    id: str
    state: str


class ShownOperation(Linked):
    """``seen``: jobs that it has come to. ``refused``: how many it could not change, by the reason. ``undone``: changes taken back.

    ``stopped``: why it stopped before its end; null: it has not. ``ended`` is true then, too, unless its server was killed.
    """

    id: str
    action: str
    actor: str
    at: str | None
    ended: bool
    seen: int
    changed: int
    refused: dict[str, int]
    undone: int
    stopped: str | None
    undo_until: str | None


class Preview(TypedDict):
    """What an operation would do: ``counts`` of jobs by state, ``refused`` by reason. ``more``: there are more jobs than were counted."""

    counts: dict[str, int]
    refused: dict[str, int]
    more: bool


class ShownReason(TypedDict):
    reason: str
    sentence: str
    until: str | None
    ahead: int | None
    do: str | None


class ShownEvent(TypedDict):
    at: str | None
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: str | None
    host: str | None
    pid: int | None
    error: str | None


class FollowedEvent(TypedDict):
    """An event in the stream of all jobs. ``queue`` and ``task`` are null if the job's row is gone."""

    job_id: str
    queue: str | None
    task: str | None
    at: str | None
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: str | None
    error: str | None


class Timeline(TypedDict):
    items: list[ShownEvent]


class ShownQueue(TypedDict):
    """``is_exact`` false: ``due``, ``scheduled`` and ``waiting`` are estimates. ``oldest_due``: seconds."""

    queue: str
    paused: bool
    is_exact: bool
    due: int
    scheduled: int
    waiting: int
    running: int
    oldest_due: float | None
    workers: int


class QueuePage(TypedDict):
    items: list[ShownQueue]


class ShownWorker(TypedDict):
    id: str
    host: str
    pid: int
    version: str
    app_version: str | None
    executor: str
    state: str
    slots: int
    running: int
    queues: list[str]
    started_at: str | None
    heartbeat_at: str | None
    expires_at: str | None


class WorkerPage(TypedDict):
    items: list[ShownWorker]


class WrongField(TypedDict):
    at: str
    message: str


# An error, as RFC 9457 has it. ``code``: pgqueue's code, which never changes its meaning. ``do``: what to do.
class Problem(TypedDict):
    type: str
    title: str
    status: int
    code: str
    detail: str
    why: NotRequired[str]
    do: NotRequired[str]
    state: NotRequired[str]
    errors: NotRequired[list[WrongField]]


def moment(at: datetime | None) -> str | None:
    """Returns a time as text of RFC 3339, in UTC."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)


def stored_job(handle: JobHandle, url: str) -> StoredJob:
    return {
        "id": str(handle.id),
        "state": handle.state or "pending",
        "created": handle.created,
        "conflict": handle.conflict,
        "status_url": f"{url}/jobs/{handle.id}",
    }


def shown_job(job: Job) -> ShownJob:
    return {
        "id": str(job.id), "queue": job.queue, "task": job.task, "state": job.state, "args": job.args, "meta": job.meta,
        "tags": list(job.tags), "priority": job.priority, "attempt": job.attempt, "max_attempts": job.max_attempts,
        "crash_count": job.crash_count, "cancel_requested": job.cancel_requested, "run_at": moment(job.run_at),
        "created_at": moment(job.created_at), "started_at": moment(job.started_at), "finished_at": moment(job.finished_at),
        "expires_at": moment(job.expires_at), "deadline_at": moment(job.deadline_at), "timeout": job.timeout,
        "worker_id": _id(job.worker_id), "unique_key": job.unique_key, "concurrency_key": job.concurrency_key,
        "version": job.version, "progress": job.progressed, "result": job.result, "last_error": job.last_error,
        "last_traceback": job.last_traceback,
    }  # fmt: skip


def shown_reason(why: Why) -> ShownReason:
    return {
        "reason": why.reason,
        "sentence": why.sentence,
        "until": moment(why.until),
        "ahead": why.ahead,
        "do": why.do,
    }


def shown_event(entry: TimelineEntry) -> ShownEvent:
    return {
        "at": moment(entry.at), "from_state": entry.from_state, "to_state": entry.to_state, "reason": entry.reason,
        "attempt": entry.attempt, "worker_id": _id(entry.worker_id), "host": entry.host, "pid": entry.pid, "error": entry.error,
    }  # fmt: skip


def followed_event(event: JobEvent) -> FollowedEvent:
    return {
        "job_id": str(event.job_id), "queue": event.queue, "task": event.task, "at": moment(event.at), "from_state": event.from_state,
        "to_state": event.to_state, "reason": event.reason, "attempt": event.attempt, "worker_id": _id(event.worker_id), "error": event.error,
    }  # fmt: skip


def shown_queue(queue: QueueCount) -> ShownQueue:
    return {
        "queue": queue.queue, "paused": queue.paused, "is_exact": queue.is_exact, "due": queue.due, "scheduled": queue.scheduled,
        "waiting": queue.waiting, "running": queue.running, "oldest_due": queue.oldest_due, "workers": queue.workers,
    }  # fmt: skip


def shown_worker(worker: WorkerRow) -> ShownWorker:
    return {
        "id": str(worker.id), "host": worker.host, "pid": worker.pid, "version": worker.version, "app_version": worker.app_version,
        "executor": worker.executor, "state": worker.state, "slots": worker.slots, "running": worker.running,
        "queues": worker.queues, "started_at": moment(worker.started_at), "heartbeat_at": moment(worker.heartbeat_at),
        "expires_at": moment(worker.expires_at),
    }  # fmt: skip


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
