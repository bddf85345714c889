"""Facts of jobs on their way: enqueued, claimed, started, ended, settled.

Facts that come with every job come thousands of times a second, for all jobs together. So the code makes such a fact only if it has a
subscriber.
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
    """One statement claimed these jobs; it could claim up to ``room`` jobs.

    ``looked_behind``: it also looked for jobs before the cursors, which are the positions from which claims start.
    """

    worker_id: int
    jobs: int
    room: int
    seconds: float
    looked_behind: bool


class JobStarted(NamedTuple):
    run: Run


# ------------------------------------------------------------------ ended


# One of these for each attempt that got a free slot, whether it then began or was refused. None if the attempt ended in an error after
# a COMMIT of its own transaction that got no answer: then CommitUnconfirmed follows.


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
    """The attempt is given back: the job was snoozed, an outside service limited its rate, or the worker released it."""

    run: Run
    seconds: float
    reason: str
    delay: float


class JobLost(NamedTuple):
    """When the attempt ended, the worker knew that the lease of the job was lost. So the settler gets no outcome to write."""

    run: Run
    seconds: float


# ------------------------------------------------------------------ settled, or not


class OutcomeLost(NamedTuple):
    """The settler tried to write the outcome, and found that the lease of the job was lost. So the outcome was not written."""

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
    """The answer to the COMMIT of the job's own transaction was lost. ``became``: what became of the COMMIT.

    "made": the job is completed. "not made": the settler wrote the outcome ``state`` instead. "lost": the COMMIT was not made, and the
    lease of the job was lost, so ``state`` was not written.
    """

    job_id: int
    task: str
    became: Literal["made", "not made", "lost"]
    state: str


class OutcomeRefused(NamedTuple):
    """If the database refuses an outcome, the worker writes another instead. ``for_good``: the database refused that one, too."""

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
    """A handler on a thread did not end after its timeout. ``attempt``: a job or a chunk of jobs, in words."""

    attempt: str


class EndedLate(NamedTuple):
    """A handler on a thread ended after its worker. ``attempt``: a job or a chunk of jobs, in words."""

    attempt: str
