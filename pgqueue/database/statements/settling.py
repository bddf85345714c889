"""The statements of settling, which write the outcomes of attempts, and the progress of running attempts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

from pgqueue.database.statements.decoding import array, column, nothing, statement
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.sql import Statement

OUTCOME = tuple(field.name for field in fields(Outcome) if field.name not in ("result", "requests"))


def complete(worker_id: int, completed: Sequence[tuple[int, int, bool]]) -> Statement[list[int]]:
    """Completes jobs: sorted (job id, lease id, whether the row is kept). Returns the ids of jobs whose lease this worker still had."""
    return statement(
        "complete",
        column,
        worker_id=worker_id,
        ids=array([job_id for job_id, _, _ in completed]),
        lease_ids=array([lease_id for _, lease_id, _ in completed]),
        kept=array([kept for _, _, kept in completed]),
    )


def complete_nodes(
    worker_id: int, completed: Sequence[tuple[int, int, bool, str | None]]
) -> Statement[list[int]]:
    """Completes nodes of workflows: sorted (job id, lease id, whether the row is kept, result as JSON text).

    Returns the ids of jobs whose lease this worker still had.
    """
    results = [result for _, _, _, result in completed]
    return statement(
        "complete_nodes",
        column,
        worker_id=worker_id,
        ids=array([job_id for job_id, _, _, _ in completed]),
        lease_ids=array([lease_id for _, lease_id, _, _ in completed]),
        kept=array([kept for _, _, kept, _ in completed]),
        results=results if any(result is not None for result in results) else [],
    )


def lock_running_job(worker_id: int, job_id: int, lease_id: int) -> Statement[list[int]]:
    """Locks a job's row. Returns a list with the job's id if this worker still has the lease of the job, otherwise an empty list."""
    return statement("lock_running_job", column, worker_id=worker_id, job_id=job_id, lease_id=lease_id)


def before_commit() -> Statement[None]:
    """Prepares the rest of a user's transaction, before ``settle`` or ``complete``. ``lock_running_job`` does this, too."""
    return statement("before_commit", nothing)


def find_committed(attempts: Sequence[tuple[int, int]]) -> Statement[list[int]]:
    """Returns the ids of the jobs that were completed in these ``attempts``, which are (job id, lease id)."""
    return statement(
        "find_committed",
        column,
        ids=array([job_id for job_id, _ in attempts]),
        lease_ids=array([lease_id for _, lease_id in attempts]),
    )


def find_locked(ids: Sequence[int]) -> Statement[list[int]]:
    return statement("find_locked", column, ids=array(ids))


def settle(
    worker_id: int, settled: Sequence[tuple[int, int, Outcome]], hooks: Sequence[str] = ()
) -> Statement[list[int]]:
    """Writes outcomes: (job id, lease id, outcome). Returns the ids of the jobs whose lease this worker still had.

    ``hooks``: the names of the hooks that this worker knows. If an outcome calls one of them, a job of that hook is stored.
    """
    outcomes = "[" + ",".join([_outcome(*item) for item in settled]) + "]"
    return statement("settle", column, worker_id=worker_id, outcomes=outcomes, hooks=array(hooks))


def _outcome(job_id: int, lease_id: int, outcome: Outcome) -> str:
    fields = {field: getattr(outcome, field) for field in OUTCOME}
    head = json.dumps({"id": job_id, "lease_id": lease_id, **fields})
    return f'{head[:-1]}, "result": {outcome.result or "null"}}}'


def write_progress(worker_id: int, written: Sequence[tuple[int, int, Progress]]) -> Statement[list[int]]:
    """Writes progress: (job id, lease id, progress). Returns the ids of the jobs whose lease this worker still had."""
    items = [
        {"id": job, "lease_id": lease, "progress": progress.as_json()} for job, lease, progress in written
    ]
    return statement("write_progress", column, worker_id=worker_id, written=json.dumps(items))
