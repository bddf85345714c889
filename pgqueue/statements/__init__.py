"""One typed constructor for each file in ``sql/``: what it takes and what its rows mean. No I/O.

Those of alerts are in ``alerts.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from pgqueue.job import Batch, Job
from pgqueue.outcome import Outcome
from pgqueue.rows import (
    Beat,
    DayChange,
    Fault,
    IndexFault,
    Lane,
    QueueDepth,
    Rescued,
    Server,
    Snapshot,
    Storage,
    Stored,
    Term,
    Transition,
    Unserved,
    WorkerRow,
)
from pgqueue.sql import Row, Statement
from pgqueue.statements.alerts import *  # noqa: F403 - theirs are this package's, too
from pgqueue.statements.making import _column, _each, _nothing, _one, _raw, _statement

OUTCOME = tuple(field.name for field in fields(Outcome))


def _plain(text: str | None) -> Any:
    """A value of jsonb. What Python cannot decode (5,000 digits, 1,000 levels) stays text: it must not hide other jobs."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _job(row: Row) -> Job:
    (
        job_id, queue, task, args, state, priority, run_at, attempt, max_attempts, lease_id, worker_id, crash_count,
        unique_key, concurrency_key, tags, created_at, started_at, finished_at, timeout, progress, result,
        last_error, last_traceback, cancel_requested, meta,
    ) = row  # fmt: skip
    return Job(
        id=job_id, queue=queue, task=task, args=_plain(args), state=state, priority=priority, run_at=run_at,
        attempt=attempt, max_attempts=max_attempts, lease_id=lease_id, worker_id=worker_id, crash_count=crash_count,
        unique_key=unique_key, concurrency_key=concurrency_key, tags=tuple(tags), created_at=created_at,
        started_at=started_at, finished_at=finished_at, timeout=timeout, last_error=last_error,
        progress=_plain(progress),
        result=_plain(result), last_traceback=last_traceback,
        cancel_requested=cancel_requested, meta=_plain(meta),
    )  # fmt: skip


def _array(values: Iterable[object]) -> str:
    """A Postgres array as text, of numbers or of names that need no quotes.

    psycopg's own would do it in Python, element by element, and call small numbers int2 and large ones int8: one hot
    statement, prepared several times.
    """
    return "{" + ",".join(map(str, values)) + "}"


def _stored(rows: Sequence[Row]) -> list[Stored]:
    return [Stored._make(row) for row in rows]


def enqueue_many(batches: Sequence[Batch]) -> Statement[list[Stored]]:
    """One row a job, in order."""
    items = [f"{head}{args}}}" for batch in batches for head in (batch.head(),) for args in batch.args]
    return _statement("enqueue_many", _stored, jobs="[" + ",".join(items) + "]")


def insert_job(task: str, args: str, options: Mapping[str, Any]) -> Statement[int]:
    """For a job without keys (``bulk.keyless``). Its id."""
    meta, trace_context = options.get("meta"), options.get("trace_context")
    return _statement(
        "insert_job",
        _one,
        task=task,
        args=args,
        queue=options.get("queue"),
        priority=options.get("priority"),
        run_at=options.get("run_at"),
        delay=options.get("delay"),
        max_attempts=options.get("max_attempts"),
        timeout=options.get("timeout"),
        concurrency_key=options.get("concurrency_key"),
        tags=options.get("tags"),
        meta=None if meta is None else json.dumps(meta),
        trace_context=None if trace_context is None else json.dumps(trace_context),
    )


def reserve_ids(count: int) -> Statement[tuple[list[int], datetime]]:
    """(ids, the database's time). ``count`` is at least 1."""
    return _statement("reserve_ids", lambda rows: ([row[0] for row in rows], rows[0][1]), count=count)


def copy_jobs() -> Statement[None]:
    return _statement("copy_jobs", _nothing)


def wake(queues: list[str]) -> Statement[None]:
    return _statement("wake", _nothing, queues=queues)


def claim(
    worker_id: int,
    tasks: Sequence[str],
    lanes: Sequence[tuple[str, int]],
    since: Sequence[tuple[float, int]],
    count: int,
) -> Statement[list[Row]]:
    """Claims from ``lanes`` in this order, each from a place on: run_at (epoch seconds) and id; (0, 0) is the beginning.

    Rows are ``worker.attempt.Attempt``'s arguments, undecoded.
    """
    return _statement(
        "claim",
        _raw,
        worker_id=worker_id,
        tasks=_array(tasks),
        queues=_array([queue for queue, _ in lanes]),
        priorities=_array([priority for _, priority in lanes]),
        since=_array([moment for moment, _ in since]),
        since_ids=_array([job_id for _, job_id in since]),
        count=count,
    )


def held(worker_id: int, known: Sequence[int]) -> Statement[list[Row]]:
    """Jobs of this worker that are not among ``known``; rows as of ``claim``."""
    return _statement("held", _raw, worker_id=worker_id, known=_array(known))


def lanes(
    known: Sequence[tuple[str, int]],
    since: Sequence[tuple[float, int]],
    gaps: Sequence[tuple[str, int, int]],
) -> Statement[list[Lane]]:
    """Those of ``known`` that hold jobs from ``since`` on (as of ``claim``), and the first in each of ``gaps`` (queue, low, high; exclusive)."""
    return _statement(
        "lanes",
        _each(Lane),
        queues=_array([queue for queue, _ in known]),
        priorities=_array([priority for _, priority in known]),
        since=_array([moment for moment, _ in since]),
        since_ids=_array([job_id for _, job_id in since]),
        gap_queues=_array([queue for queue, _, _ in gaps]),
        lows=_array([low for _, low, _ in gaps]),
        highs=_array([high for _, _, high in gaps]),
    )


def match_queues(patterns: Sequence[str]) -> Statement[list[str]]:
    """``patterns`` as in -Q: a name in which * stands for anything."""
    like = [pattern.replace("_", r"\_").replace("*", "%") for pattern in patterns]
    return _statement("match_queues", _column, patterns=like)


def open_writers() -> Statement[list[tuple[str, float | None, float]]]:
    """What names the transaction, when it began, and the time now (epoch seconds of the database)."""
    return _statement("open_writers", lambda rows: [(row[0], row[1], row[2]) for row in rows])


def complete(worker_id: int, completed: Sequence[tuple[int, int, bool]]) -> Statement[list[int]]:
    """``completed`` is (job id, lease id, whether its row is kept), sorted. The ids that were still ours come back."""
    return _statement(
        "complete",
        _column,
        worker_id=worker_id,
        ids=_array([job_id for job_id, _, _ in completed]),
        lease_ids=_array([lease_id for _, lease_id, _ in completed]),
        kept=_array([kept for _, _, kept in completed]),
    )


def settle(
    worker_id: int, settled: Sequence[tuple[int, int, Outcome]], hooks: Sequence[str] = ()
) -> Statement[list[int]]:
    """``settled`` is (job id, lease id, outcome), of any kind; ``hooks`` are told. The ids that were still ours come back."""
    outcomes = "[" + ",".join([_outcome(*item) for item in settled]) + "]"
    return _statement("settle", _column, worker_id=worker_id, outcomes=outcomes, hooks=_array(hooks))


def _outcome(job_id: int, lease_id: int, outcome: Outcome) -> str:
    fields = {field: getattr(outcome, field) for field in OUTCOME if field != "result"}
    head = json.dumps({"id": job_id, "lease_id": lease_id, **fields})
    return f'{head[:-1]}, "result": {outcome.result or "null"}}}'


def register_worker(
    *,
    host: str,
    pid: int,
    version: str,
    executor: str,
    slots: int,
    queues: list[str],
    tasks: list[str],
    lease_seconds: float,
) -> Statement[int]:
    return _statement(
        "register_worker",
        _one,
        host=host,
        pid=pid,
        version=version,
        executor=executor,
        slots=slots,
        queues=queues,
        tasks=tasks,
        lease_seconds=lease_seconds,
    )


def heartbeat(worker_id: int, lease_seconds: float, state: str) -> Statement[Beat | None]:
    """None: the lease has run out."""
    return _statement(
        "heartbeat",
        lambda rows: Beat(*rows[0]) if rows else None,
        worker_id=worker_id,
        lease_seconds=lease_seconds,
        state=state,
    )


def stop_worker(worker_id: int) -> Statement[None]:
    return _statement("stop_worker", _nothing, worker_id=worker_id)


def elect(worker_id: int, lease_seconds: float) -> Statement[Term]:
    return _statement("elect", lambda rows: Term(*rows[0]), worker_id=worker_id, lease_seconds=lease_seconds)


def rescue(crash_limit: int, count: int) -> Statement[list[Rescued]]:
    return _statement(
        "rescue", lambda rows: [Rescued(*row[:4]) for row in rows], crash_limit=crash_limit, count=count
    )


def adopt_orphans() -> Statement[list[int]]:
    return _statement("adopt_orphans", _column)


def discover_queues() -> Statement[list[str]]:
    return _statement("discover_queues", _column)


def purge(count: int) -> Statement[tuple[int, int]]:
    return _statement("purge", lambda rows: (rows[0][0], rows[0][1]), count=count)


def add_partitions(days: int) -> Statement[list[DayChange]]:
    return _statement("add_partitions", _each(DayChange), days=days)


def drop_partitions() -> Statement[DayChange | None]:
    """None: nothing is over age."""
    return _statement("drop_partitions", lambda rows: DayChange(*rows[0]) if rows else None)


def list_expiring() -> Statement[dict[str, str]]:
    """Table to the days before which its rows may go."""
    return _statement("list_expiring", lambda rows: {row[0]: row[1] for row in rows})


def purge_jobs(child: str, first: int, count: int) -> Statement[int | None]:
    """The next block to begin with; None at the end of the table."""
    return _statement("purge_jobs", _one, child=child, first=first, count=count)


def check_partitions() -> Statement[list[Fault]]:
    return _statement("check_partitions", _each(Fault))


def check_indexes(floor: int) -> Statement[list[IndexFault]]:
    """``floor``: an index smaller than this many bytes is never outgrown."""
    return _statement("check_indexes", _each(IndexFault), floor=floor)


def index_size(index: str) -> Statement[int]:
    return _statement("index_size", _one, index=index)


def list_holders() -> Statement[set[str]]:
    return _statement("list_holders", lambda rows: {row[0] for row in rows})


def measure_storage() -> Statement[Storage]:
    return _statement("measure_storage", lambda rows: Storage(*rows[0]))


def mark_busy(queues: list[str], seconds: float, mine: int = 0) -> Statement[int]:
    """Until when (milliseconds of the epoch) the queues are marked now; 0 if none is."""
    return _statement(
        "mark_busy",
        lambda rows: max((row[1] for row in rows), default=0),
        queues=queues,
        seconds=seconds,
        mine=mine,
    )


def mark_waited(seconds: float) -> Statement[None]:
    return _statement("mark_waited", _nothing, seconds=seconds)


def get_job(job_id: int) -> Statement[Job | None]:
    return _statement("get_job", lambda rows: _job(rows[0]) if rows else None, job_id=job_id)


def list_jobs(
    *,
    states: list[str] | None = None,
    queue: str | None = None,
    task: str | None = None,
    tag: str | None = None,
    error: str | None = None,
    before: int | None = None,
    count: int = 50,
) -> Statement[list[Job]]:
    return _statement(
        "list_jobs",
        lambda rows: [_job(row) for row in rows],
        states=states,
        queue=queue,
        task=task,
        tag=tag,
        error=error,
        before=before,
        count=count,
    )


def list_transitions(job_id: int) -> Statement[list[Transition]]:
    return _statement("list_transitions", _each(Transition), job_id=job_id)


def list_queues() -> Statement[list[QueueDepth]]:
    return _statement("list_queues", _each(QueueDepth))


def list_workers(ended: bool) -> Statement[list[WorkerRow]]:
    return _statement("list_workers", _each(WorkerRow), ended=ended)


def pause_queue(queue: str, paused: bool) -> Statement[bool]:
    """Whether there is such a queue."""
    return _statement("pause_queue", bool, queue=queue, paused=paused)


def cancel(job_id: int) -> Statement[str | None]:
    return _statement("cancel", _one, job_id=job_id)


def revive(job_id: int) -> Statement[str | None]:
    return _statement("revive", _one, job_id=job_id)


def count_unclaimed(queues: list[str], tasks: list[str]) -> Statement[tuple[int, int]]:
    """(due, running)."""
    return _statement("count_unclaimed", lambda rows: (rows[0][0], rows[0][1]), queues=queues, tasks=tasks)


def describe_server() -> Statement[Server]:
    return _statement("describe_server", lambda rows: Server(*rows[0]))


def schema_version() -> Statement[str | None]:
    return _statement("schema_version", _one)


def function_bodies() -> Statement[dict[str, str]]:
    return _statement("function_bodies", lambda rows: {row[0]: row[1] for row in rows})


def unserved() -> Statement[list[Unserved]]:
    return _statement("unserved", _each(Unserved))


def oldest_snapshot() -> Statement[list[Snapshot]]:
    return _statement("oldest_snapshot", _each(Snapshot))
