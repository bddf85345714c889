"""The statements of leases: of workers, of the leader, and of jobs that are taken back from workers whose lease has run out."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pgqueue.database.statements.decoding import array, column, maybe_array, nothing, one, pair, statement
from pgqueue.model.versions import UNVERSIONED, Versions
from pgqueue.sql import Statement


@dataclass(frozen=True, slots=True)
class Rescued:
    id: int
    task: str
    state: str
    worker_id: int
    queue: str


@dataclass(frozen=True, slots=True)
class OverdueJob:
    """A job that no worker is allowed to run now or later: it has expired, is past its deadline, or was asked to stop."""

    id: int
    task: str
    state: Literal["dead", "cancelled"]
    reason: str
    queue: str


@dataclass(frozen=True, slots=True)
class Leadership:
    """Whether this worker is the leader. ``left``: seconds until the leader's lease ends, if the leader does not renew it."""

    leads: bool
    left: float


def register_worker(
    *,
    worker_id: int | None = None,
    host: str,
    pid: int,
    version: str,
    executor: str,
    slots: int,
    queues: list[str],
    tasks: list[str],
    lease_seconds: float,
    queue_slots: Sequence[int | None] = (),
    versions: Versions = UNVERSIONED,
) -> Statement[int | None]:
    """Returns the worker's id, a random number below 2^53. None: another worker has that id already, so the caller tries again.

    ``queue_slots``: for each of ``queues``, the number of slots for this queue alone, or None. ``versions``: what the worker's app and
    its tasks say about their versions.
    """
    return statement(
        "register_worker", one, worker_id=worker_id or 1 + secrets.randbelow(2**53 - 1), host=host, pid=pid,
        version=version, executor=executor, slots=slots, queues=queues, queue_slots=list(queue_slots), tasks=tasks,
        lease_seconds=lease_seconds, app_version=versions.app, accepts=list(versions.accepted),
    )  # fmt: skip


def read_clock() -> Statement[float]:
    return statement("read_clock", one)


def heartbeat(worker_id: int, lease_seconds: float, state: str) -> Statement[tuple[int, bool] | None]:
    """Renews the lease of a worker. Returns its id and whether it has requests to answer; None: the lease has already run out."""
    return statement("heartbeat", pair, worker_id=worker_id, lease_seconds=lease_seconds, state=state)


def list_cancel_requests(worker_id: int) -> Statement[list[int]]:
    return statement("list_cancel_requests", column, worker_id=worker_id)


def find_lost_attempts(worker_id: int, attempts: Sequence[tuple[int, int]]) -> Statement[list[int]]:
    """Returns the ids of the jobs whose leases this worker no longer has. ``attempts``: (job id, lease id) of each running attempt."""
    return statement(
        "find_lost_attempts",
        column,
        worker_id=worker_id,
        ids=array([job_id for job_id, _ in attempts]),
        lease_ids=array([lease_id for _, lease_id in attempts]),
    )


def note_blocked(worker_id: int, seconds: float | None, job_ids: list[int]) -> Statement[None]:
    return statement("note_blocked", nothing, worker_id=worker_id, seconds=seconds, job_ids=job_ids)


def stop_worker(worker_id: int) -> Statement[None]:
    return statement("stop_worker", nothing, worker_id=worker_id)


def end_lease(worker_id: int, pid: int) -> Statement[bool]:
    """Ends the lease of a worker whose process has died. Returns whether the worker still had a lease."""
    return statement("end_lease", bool, worker_id=worker_id, pid=pid)


def elect(worker_id: int, lease_seconds: float) -> Statement[Leadership]:
    return statement(
        "elect", lambda rows: Leadership(*rows[0]), worker_id=worker_id, lease_seconds=lease_seconds
    )


def rescue(crash_limit: int, count: int, only: Sequence[int] | None = None) -> Statement[list[Rescued]]:
    """Rescues up to ``count`` jobs. ``only``: if it is not None, rescues only jobs whose ids are in it."""
    return statement(
        "rescue",
        lambda rows: [Rescued(*row[:5]) for row in rows],
        crash_limit=crash_limit,
        count=count,
        only=maybe_array(only),
    )


def choose_rescues(count: int) -> Statement[list[int]]:
    """Returns the ids of the jobs that ``rescue`` would rescue now."""
    return statement("choose_rescues", column, count=count)


def finish_overdue(count: int, only: Sequence[int] | None = None) -> Statement[list[OverdueJob]]:
    """Finishes up to ``count`` overdue jobs. ``only``: if it is not None, finishes only jobs whose ids are in it."""
    return statement(
        "finish_overdue",
        lambda rows: [OverdueJob(*row[:5]) for row in rows],
        count=count,
        only=maybe_array(only),
    )


def choose_overdue(count: int) -> Statement[list[int]]:
    """Returns the ids of the jobs that ``finish_overdue`` would finish now."""
    return statement("choose_overdue", column, count=count)


def make_dead(job_id: int, worker_id: int, why: str) -> Statement[str | None]:
    """Makes a job dead. Returns the job's task. None: the job was not changed, because it is finished, or runs under another living worker."""
    return statement("make_dead", one, job_id=job_id, worker_id=worker_id, why=why)


def adopt_orphans() -> Statement[list[int]]:
    return statement("adopt_orphans", column)
