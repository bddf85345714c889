"""What people ask and change: jobs, queues, workers, limits, the server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from pgqueue.job import Job
from pgqueue.rows import (
    JobCount,
    Limit,
    QueueDepth,
    QueueUse,
    Server,
    Snapshot,
    TimelineEntry,
    Transition,
    Unserved,
    Why,
    WorkerRow,
)
from pgqueue.sql import Statement
from pgqueue.statements.making import array, each, job_of, nothing, one, statement


def get_job(job_id: int) -> Statement[Job | None]:
    return statement("get_job", lambda rows: job_of(rows[0]) if rows else None, job_id=job_id)


def get_ended(job_ids: Iterable[int], watched: Iterable[int]) -> Statement[list[tuple[int, Job | None]]]:
    """Of these those that have ended, are watched, or are not there (None)."""
    return statement(
        "get_ended",
        lambda rows: [(row[0], None if row[1] is None else job_of(row)) for row in rows],
        job_ids=array(job_ids),
        watched=array(watched),
    )


def get_task(job_id: int) -> Statement[str | None]:
    return statement("get_task", one, job_id=job_id)


def why(job_id: int) -> Statement[Why]:
    return statement("why", lambda rows: Why(*rows[0]), job_id=job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs: those that all of these are true of. ``error`` is a part of the last error; ``args`` JSON that the arguments contain."""

    states: list[str] | None = None
    queue: str | None = None
    task: str | None = None
    tag: str | None = None
    error: str | None = None
    unique_key: str | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    args: str | None = None


def list_jobs(
    which: JobFilter = JobFilter(), *, before: int | None = None, count: int = 50
) -> Statement[list[Job]]:
    return statement(
        "list_jobs",
        lambda rows: [job_of(row) for row in rows],
        **asdict(which),
        before=before,
        count=count,
    )


def count_jobs(which: JobFilter, by: Collection[str]) -> Statement[list[JobCount]]:
    """``by``: of task, queue, state and tag. A job with two tags counts under both."""
    wanted = {f"by_{word}": word in by for word in ("task", "queue", "state", "tag")}
    return statement("count_jobs", each(JobCount), **asdict(which), **wanted)


def job_timeline(job_id: int) -> Statement[list[TimelineEntry]]:
    return statement("job_timeline", each(TimelineEntry), job_id=job_id)


def list_transitions(job_id: int) -> Statement[list[Transition]]:
    return statement("list_transitions", each(Transition), job_id=job_id)


def cancel(job_id: int) -> Statement[str | None]:
    return statement("cancel", one, job_id=job_id)


def revive(job_id: int) -> Statement[str | None]:
    return statement("revive", one, job_id=job_id)


def edit(job_id: int, changes: Mapping[str, object]) -> Statement[str | None]:
    return statement("edit", one, job_id=job_id, changes=json.dumps(changes))


def mark_waited(seconds: float) -> Statement[None]:
    return statement("mark_waited", nothing, seconds=seconds)


def list_queues() -> Statement[list[QueueDepth]]:
    return statement("list_queues", each(QueueDepth))


def pause_queue(queue: str) -> Statement[bool]:
    """Whether its row was made by that."""
    return statement("pause_queue", one, queue=queue)


def resume_queue(queue: str) -> Statement[bool]:
    """Whether it has a row."""
    return statement("resume_queue", bool, queue=queue)


def remove_queue(queue: str) -> Statement[QueueUse]:
    return statement("remove_queue", lambda rows: QueueUse(*rows[0]), queue=queue)


def list_workers(ended: bool) -> Statement[list[WorkerRow]]:
    return statement("list_workers", each(WorkerRow), ended=ended)


def set_limit(
    *,
    queue: str | None,
    task: str | None,
    per_key: bool,
    key: str | None,
    concurrency: int | None,
    rate: int | None,
    period: float | None,
    sliding: bool,
    burst: int | None,
    share: int | None,
) -> Statement[int]:
    """Its id. ``period`` in seconds."""
    return statement(
        "set_limit", one, queue=queue, task=task, per_key=per_key, key=key, concurrency=concurrency, rate=rate, period=period,
        sliding=sliding, burst=burst, share=share,
    )  # fmt: skip


def list_limits() -> Statement[list[Limit]]:
    return statement("list_limits", each(Limit))


def remove_limit(limit_id: int) -> Statement[int | None]:
    """None: there is no such limit."""
    return statement("remove_limit", lambda rows: rows[0][0] if rows else None, limit_id=limit_id)


def unserved() -> Statement[list[Unserved]]:
    return statement("unserved", each(Unserved))


def oldest_snapshot() -> Statement[list[Snapshot]]:
    return statement("oldest_snapshot", each(Snapshot))


def describe_server() -> Statement[Server]:
    return statement("describe_server", lambda rows: Server(*rows[0]))


def schema_version() -> Statement[str | None]:
    return statement("schema_version", one)


def function_bodies() -> Statement[dict[str, str]]:
    return statement("function_bodies", lambda rows: {row[0]: row[1] for row in rows})
