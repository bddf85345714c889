"""Facts of jobs: they are enqueued, claimed, started, ended and settled.

The facts that are emitted for every job can come thousands of times a second. So the code makes such a fact only if it has a subscriber.
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
    """Jobs were enqueued in a transaction, which can still be rolled back."""

    task: str
    jobs: int


class JobsClaimed(NamedTuple):
    """One statement claimed these jobs; it could claim up to ``room`` jobs.

    ``looked_behind``: the statement also looked for jobs before the cursors, which are the positions from which other claims start.
    """

    worker_id: int
    jobs: int
    room: int
    seconds: float
    looked_behind: bool


class JobStarted(NamedTuple):
    run: Run


# ------------------------------------------------------------------ ended


# For each attempt that got a free slot, one of these facts is emitted, whether the attempt then began or was refused. There is one
# exception: if the COMMIT of the attempt's own transaction got no answer, and the attempt then ended in an error, CommitUnconfirmed is
# emitted instead.


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
    """The job goes back to its queue: it was snoozed, an outside service limited its rate, or the worker released it."""

    run: Run
    seconds: float
    reason: str
    delay: float


class JobLost(NamedTuple):
    """When the attempt ended, the worker already knew that the lease of the job was lost. So no outcome is written."""

    run: Run
    seconds: float


# ------------------------------------------------------------------ settled, or not


class OutcomeLost(NamedTuple):
    """The worker tried to write the outcome, but the lease of the job was lost. So the outcome was not written."""

    job_id: int
    task: str
    lease_id: int
    state: str


class OutcomeWaits(NamedTuple):
    """The outcome is not written yet. ``why`` is the error, or None if another transaction has locked the row of the job."""

    job_id: int
    task: str
    state: str
    why: str | None


class CommitUnconfirmed(NamedTuple):
    """The answer to the COMMIT of the job's own transaction was lost. ``became``: what became of the COMMIT.

    "made": the job is completed. "not made": the settler wrote the outcome ``state`` instead. "lost": the COMMIT was not made, and the
    lease of the job was lost, so ``state`` was not written.
    """

    job_id: int
    task: str
    became: Literal["made", "not made", "lost"]
    state: str


class OutcomeRefused(NamedTuple):
    """The database refused an outcome, so the worker writes another outcome instead. ``for_good``: the database refused this one, too."""

    job_id: int
    task: str
    why: str
    for_good: bool


class ProgressRefused(NamedTuple):
    job_id: int
    task: str
    error: Exception


class ClaimsForgotten(NamedTuple):
    """A crash or a failover of the server undid the claims of these jobs, so their handlers are stopped."""

    job_ids: tuple[int, ...]


class TimeoutIgnored(NamedTuple):
    """A handler on a thread did not end after its timeout. ``attempt``: a job or a chunk of jobs, in words."""

    attempt: str


class EndedLate(NamedTuple):
    """A handler on a thread ended after its worker. ``attempt``: a job or a chunk of jobs, in words."""

    attempt: str
