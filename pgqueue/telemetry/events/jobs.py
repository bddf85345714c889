"""The facts about jobs. They are emitted when jobs are enqueued, claimed, started, ended and settled.

Some of these facts can come thousands of times a second, because they are emitted for every job. So such a fact is made only if its class
has a subscriber.
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
    """Jobs were enqueued in a transaction, which can still be rolled back. ``queue``: empty if the jobs were stored with a workflow."""

    task: str
    jobs: int
    queue: str


class EnqueueEnded(NamedTuple):
    """A call that enqueues ``jobs`` jobs has ended, on the thread and in the context of the call.

    ``queue``: empty if the jobs have several queues. ``job_id``: None unless the call has stored one job. ``error``: the name of the error's
    class; empty if the call succeeded.
    """

    queue: str
    jobs: int
    seconds: float
    error: str
    job_id: int | None


class JobsClaimed(NamedTuple):
    """One statement claimed ``jobs`` jobs. The statement was allowed to claim up to ``room`` jobs.

    ``looked_behind``: whether the statement scanned each lane from its beginning, and not only from its cursor.
    """

    worker_id: int
    jobs: int
    room: int
    seconds: float
    looked_behind: bool


class JobsTaken(NamedTuple):
    """A worker has claimed jobs. ``waits``: for each of their queues, for how many seconds each of its jobs had been due.

    A time can be slightly below 0, because it is the difference between times of two clocks.
    """

    worker_id: int
    waits: tuple[tuple[str, tuple[float, ...]], ...]


class JobStarted(NamedTuple):
    run: Run


# ------------------------------------------------------------------ ended


# For each attempt that got a free slot, exactly one of the following facts is emitted, even if the attempt was refused and did not begin.
# There is one exception: if the COMMIT of the attempt's own transaction got no answer, and the attempt then ended in an error,
# CommitUnconfirmed is emitted instead.


class JobCompleted(NamedTuple):
    run: Run
    seconds: float


class JobRetried(NamedTuple):
    """The attempt failed, and the job runs again after ``delay`` seconds."""

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
    """The job goes back to its queue: its handler raised ``Snooze`` or ``RateLimited``, or the worker released the job."""

    run: Run
    seconds: float
    reason: str
    delay: float


class JobSuspended(NamedTuple):
    """The job sleeps, or waits for one of the ``signals`` (none: it only sleeps). ``delay``: for how long it sleeps, in seconds."""

    run: Run
    seconds: float
    delay: float
    signals: tuple[str, ...]


class JobLost(NamedTuple):
    """When the attempt ended, the worker already knew that the lease of the job was lost. So no outcome is written."""

    run: Run
    seconds: float


# ------------------------------------------------------------------ settled, or not


class Ended(NamedTuple):
    """Attempts that ended alike.

    ``error``: the name of the class of their errors (empty: no error). ``ran``: for how many seconds each handler ran (None: not called).
    There are thousands of attempts in a second. An object for each of them would cost more than all that is done with it.
    """

    queue: str
    task: str
    outcome: str
    error: str
    ran: tuple[float | None, ...]


class OutcomesWritten(NamedTuple):
    """One statement has written the outcomes of attempts, in ``seconds``. ``operation``: the name of the operation on the jobs.

    ``seconds`` is None if the handler's own transaction has written the outcome.
    """

    worker_id: int
    operation: Literal["ack", "settle"]
    seconds: float | None
    ended: tuple[Ended, ...]


class OutcomeLost(NamedTuple):
    """The worker tried to write the outcome of an attempt, but the lease of the job was lost. So the outcome was not written."""

    job_id: int
    task: str
    lease_id: int
    state: str


class OutcomeWaits(NamedTuple):
    """The outcome of an attempt could not be written yet. ``why``: the error; None if another transaction has locked the row of the job."""

    job_id: int
    task: str
    state: str
    why: str | None


class CommitUnconfirmed(NamedTuple):
    """The answer to the COMMIT of the job's own transaction was lost, or its child process died after the COMMIT.

    ``became`` says what the settler found out later.

    "made": the COMMIT succeeded, so the job is completed. "not made": it failed, and the settler wrote an outcome with the state ``state``.
    "lost": it failed, and the lease of the job was lost, too, so that outcome was not written.
    """

    job_id: int
    task: str
    became: Literal["made", "not made", "lost"]
    state: str


class OutcomeRefused(NamedTuple):
    """The database refused the outcome of a job, so the worker writes an outcome with the state dead instead.

    ``for_good``: whether the database has already refused that second outcome, too.
    """

    job_id: int
    task: str
    why: str
    for_good: bool


class ProgressRefused(NamedTuple):
    job_id: int
    task: str
    error: Exception


class LinesRefused(NamedTuple):
    """The database refused ``lines`` log lines that jobs keep, so these lines are not stored."""

    lines: int
    error: Exception


class CheckpointRefused(NamedTuple):
    job_id: int
    task: str
    why: str


class ClaimsForgotten(NamedTuple):
    """A crash or a failover of the server undid the claims of these jobs, so their handlers are stopped."""

    job_ids: tuple[int, ...]


class TimeoutIgnored(NamedTuple):
    """A handler on a thread did not end after its timeout. ``call`` describes its job or its chunk of jobs in words."""

    call: str


class EndedLate(NamedTuple):
    """A handler on a thread ended only after its worker had ended. ``call`` describes its job or its chunk of jobs in words."""

    call: str
