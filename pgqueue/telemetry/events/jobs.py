"""Facts of jobs on their way: enqueued, claimed, started, ended, settled.

Facts of every job happen thousands of times a second, so the code makes them only if there is a subscriber.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Run(NamedTuple):
    """The attempt that a fact is about, with its job and its worker."""

    worker_id: int
    job_id: int
    task: str
    queue: str
    attempt: int
    max_attempts: int


class JobsEnqueued(NamedTuple):
    """The transaction of these jobs may still be rolled back."""

    task: str
    jobs: int


class JobsClaimed(NamedTuple):
    """One statement claimed these jobs, and had room for ``room``. ``looked_behind``: it also looked behind the cursors."""

    worker_id: int
    jobs: int
    room: int
    seconds: float
    looked_behind: bool


class JobStarted(NamedTuple):
    run: Run


# ------------------------------------------------------------------ ended: one of these for each attempt that had its turn


class JobCompleted(NamedTuple):
    run: Run
    seconds: float


class JobRetried(NamedTuple):
    """The job failed, and runs again after ``delay`` seconds."""

    run: Run
    seconds: float
    delay: float
    error: str


class JobDead(NamedTuple):
    run: Run
    seconds: float
    reason: str
    error: str


class JobCancelled(NamedTuple):
    run: Run
    seconds: float
    error: str


class JobPutBack(NamedTuple):
    """The attempt is given back: the job was snoozed, limited from outside, or released."""

    run: Run
    seconds: float
    reason: str
    delay: float


class JobLost(NamedTuple):
    """The lease of the job is lost, so the outcome of its handler is not written."""

    run: Run
    seconds: float


# ------------------------------------------------------------------ settled, or not


class OutcomeLost(NamedTuple):
    """The outcome was not written, because the lease was lost."""

    job_id: int
    task: str
    lease_id: int
    state: str


class OutcomeWaits(NamedTuple):
    """``why`` is None if another transaction holds the row of the job."""

    job_id: int
    task: str
    state: str
    why: str | None


class CommitUnconfirmed(NamedTuple):
    """The answer to the COMMIT of the job's own transaction was lost. ``became`` says what became of the COMMIT."""

    job_id: int
    task: str
    became: Literal["made", "not made", "lost"]
    state: str


class OutcomeRefused(NamedTuple):
    """``for_good``: the database also refused the outcome that replaced the first one."""

    job_id: int
    task: str
    why: str
    for_good: bool


class ProgressRefused(NamedTuple):
    job_id: int
    task: str
    error: Exception


class ClaimsForgotten(NamedTuple):
    """A crash or failover of the server took these claims back, so the handlers of the jobs are stopped."""

    job_ids: tuple[int, ...]


class TimeoutIgnored(NamedTuple):
    """A handler on a thread did not end after its timeout. ``attempt``: a job or a chunk of them, in words."""

    attempt: str


class EndedLate(NamedTuple):
    """A handler on a thread ended after its worker. ``attempt``: as above."""

    attempt: str
