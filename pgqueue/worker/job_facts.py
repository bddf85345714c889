"""Emits the facts about the start and the end of an attempt. A fact is made only if it has a subscriber, because this saves time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import (
    Ended,
    JobCancelled,
    JobCompleted,
    JobDead,
    JobLost,
    JobPutBack,
    JobRetried,
    JobsTaken,
    JobStarted,
    JobSuspended,
    OutcomesWritten,
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
# What metrics call an outcome, by its reason or else by its state.
OUTCOMES = {
    "completed": "completed", "retrying": "retried", "dead": "dead", "cancelled": "cancelled", "pending": "snoozed", "sleeping": "suspended",
    "waiting": "suspended", "released": "released",
}  # fmt: skip
DONE = ("completed", "")  # what metrics call an outcome, and the name of the class of its error
NOTHING: dict[NothingToSettle, type[Any]] = {
    NothingToSettle.COMMITTED: JobCompleted,
    NothingToSettle.LEASE_LOST: JobLost,
}


def emit_taken(worker_id: int, attempts: Sequence[Attempt]) -> None:
    """Emits that the worker has claimed these attempts. Call this only if JobsTaken has subscribers."""
    now = server_time.now()
    waits: defaultdict[str, list[float]] = defaultdict(list)
    for attempt in attempts:
        waits[attempt.queue].append(now - attempt.run_at)
    emit(JobsTaken(worker_id, tuple((queue, tuple(seconds)) for queue, seconds in waits.items())))


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


def emit_written(
    operation: Literal["ack", "settle"], batch: Sequence[tuple[Attempt, Outcome]], seconds: float | None
) -> None:
    """Emits that one statement has written these outcomes. Call this only if OutcomesWritten has subscribers."""
    ran: defaultdict[tuple[str, str, tuple[str, str]], list[float | None]] = defaultdict(list)
    for attempt, outcome in batch:
        called = DONE if outcome is COMPLETED else _called(outcome)
        ran[attempt.queue, attempt.task, called].append(attempt.ran)
    ended = tuple(Ended(queue, task, *called, tuple(times)) for (queue, task, called), times in ran.items())
    emit(OutcomesWritten(batch[0][0].worker_id, operation, seconds, ended))


def _called(outcome: Outcome) -> tuple[str, str]:
    """Returns what metrics call the outcome, and the name of the class of its error."""
    return OUTCOMES.get(outcome.reason) or OUTCOMES[outcome.state], _error_type(outcome)


def emit_committed(attempt: Attempt, conclusion: NothingToSettle) -> None:
    """Emits that a handler's own transaction has completed its job, if it has."""
    if conclusion is not NothingToSettle.COMMITTED or not has_subscribers(OutcomesWritten):
        return
    emit_written("ack", [(attempt, COMPLETED)], None)


def _error_type(outcome: Outcome) -> str:
    """Returns the name of the class of the error with which the attempt failed. ``Outcome.error`` begins with this name."""
    if outcome.state not in ("retrying", "dead") or outcome.error is None:
        return ""
    return outcome.error.partition(":")[0].partition("\n")[0]


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
