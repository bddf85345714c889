"""Emits the facts about the start and the end of an attempt. A fact is made only if it has a subscriber, because this saves time."""

from __future__ import annotations

from typing import Any

from pgqueue.model.outcome import Outcome
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import (
    JobCancelled,
    JobCompleted,
    JobDead,
    JobLost,
    JobPutBack,
    JobRetried,
    JobStarted,
    JobSuspended,
    Run,
)
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, NothingToSettle, OwnCommit

KINDS: dict[str, type[Any]] = {
    "completed": JobCompleted,
    "retrying": JobRetried,
    "dead": JobDead,
    "cancelled": JobCancelled,
    "pending": JobPutBack,
    "suspended": JobSuspended,
}
NOTHING: dict[NothingToSettle, type[Any]] = {
    NothingToSettle.COMMITTED: JobCompleted,
    NothingToSettle.LEASE_LOST: JobLost,
}


def emit_start(attempt: Attempt) -> None:
    """Call this only if JobStarted has subscribers."""
    emit(JobStarted(_run(attempt)))


def emit_ending(attempt: Attempt, conclusion: Conclusion) -> None:
    """Emits the fact about the end of an attempt.

    If the attempt ended in an error while a COMMIT of its handler is unconfirmed, emits nothing. The settler later finds out whether the
    COMMIT completed the job, and emits ``CommitUnconfirmed``.
    """
    if isinstance(conclusion, Outcome):
        kind = KINDS["suspended" if conclusion.requests else conclusion.state]
        if conclusion.error is not None and attempt.own_commit is OwnCommit.UNCONFIRMED:
            return
    else:
        kind = NOTHING[conclusion]
    if has_subscribers(kind):
        seconds = monotonic() - (attempt.started_at or attempt.claimed_at)
        emit(kind(_run(attempt), seconds, *_details(conclusion)))


def _details(outcome: Conclusion) -> tuple[object, ...]:
    match outcome:
        case Outcome(state="retrying"):
            return outcome.delay, outcome.error
        case Outcome(state="dead"):
            return outcome.reason, outcome.error
        case Outcome(state="cancelled"):
            return (outcome.error,)
        case Outcome(requests=(_, *_) as requests):
            return outcome.delay, tuple(dict.fromkeys(name for request in requests for name in request.names))
        case Outcome(state="pending"):
            return outcome.reason, outcome.delay
    return ()


def _run(attempt: Attempt) -> Run:
    return Run(
        attempt.worker_id, attempt.id, attempt.task, attempt.queue, attempt.attempt, attempt.max_attempts
    )
