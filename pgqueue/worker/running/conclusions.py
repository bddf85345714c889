"""Decides the conclusion of an attempt: its outcome, or the reason why none is written (ending.py).

The conclusion follows from the value or the error of the handler, or from the event that stopped the attempt from outside.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import GeneratorType

from pgqueue.errors import (
    BadResultError,
    ChildrenFailedError,
    DeadlineExceededError,
    InvalidArgumentsError,
    PgQueueError,
    SignalTimeoutError,
    StepError,
    SwallowedSuspensionError,
    UndecodableJobError,
)
from pgqueue.model.groups import deciding
from pgqueue.model.names import is_reserved
from pgqueue.model.outcome import INSTRUCTIONS, Cancel, Outcome, decide, is_instruction
from pgqueue.model.retry import DEFAULT_POLICY, RetryPolicy
from pgqueue.model.suspension import is_suspension
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import OutcomeUndecided
from pgqueue.text.described import plain
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.secret_values import masked_outcome


def refused(spec: TaskSpec, attempt: Attempt) -> Conclusion | None:
    """Returns the conclusion of an attempt that must not begin; None if the attempt is allowed to begin.

    An attempt must not begin if it is too late. It must also not begin if the name of its task is reserved for jobs of pgqueue, and pgqueue
    did not store the job.
    """
    if is_reserved(attempt.task) and not (attempt.rare and attempt.rare.stored_by_pgqueue):
        return failed(spec, attempt, UndecodableJobError("Only pgqueue itself stores jobs of this name."))
    return too_late(spec, attempt)


def too_late(spec: TaskSpec, attempt: Attempt) -> Conclusion | None:
    """Returns the conclusion of an attempt if it is too late, because its job has expired or is past its deadline.

    Otherwise returns None.
    """
    left = attempt.until_deadline()
    if left is not None and left <= 0:
        late = failed(spec, attempt, DeadlineExceededError("Its deadline passed before it could begin."))
        return replace(late, begun=False) if isinstance(late, Outcome) else late
    if attempt.rare is None or attempt.rare.expires is None or attempt.rare.expires > monotonic():
        return None
    return Outcome.expired(spec.keep)


def value_of(value: object) -> object:
    """Returns the result of a job, made from its handler's return value.

    If the value is an instruction, such as Snooze or Retry, raises it. If it is a generator, runs it to its end, and returns a list of its
    items. The generator can raise an instruction, too.
    """
    if isinstance(value, GeneratorType):
        return list(value)
    if isinstance(value, INSTRUCTIONS):
        raise value
    return value


def succeeded(spec: TaskSpec, attempt: Attempt, value: object) -> Conclusion:
    """Returns the conclusion of an attempt whose handler returned ``value``."""
    if (attempt.ending or attempt.own_commit) and (nothing := attempt.nothing_to_settle()) is not None:
        return nothing
    if attempt.suspension is not None and attempt.is_suspending:
        return swallowed(spec)
    if value is None and attempt.rare is None:
        return spec.completion
    result = spec.encode_result(value_of(value))
    if attempt.suspension is not None and attempt.is_suspending:  # the handler is a generator
        return swallowed(spec)
    if result is None and not attempt.is_node:
        return spec.completion
    return Outcome.completed(result, spec.keep)


def swallowed(spec: TaskSpec) -> Conclusion:
    """Returns the conclusion of an attempt whose handler returned although it sleeps or waits for a signal."""
    error = SwallowedSuspensionError(
        "The handler went on although the job sleeps or waits for a signal.",
        why="it has caught Suspended, for example by a bare `except:`",
        do="catch Exception instead, or raise Suspended again; then run pgq jobs revive",
    )
    return Outcome.dead("swallowed_suspension", error, spec.keep)


def suspended(spec: TaskSpec, attempt: Attempt) -> Outcome:
    """Returns the outcome of an attempt that sleeps or waits for a signal. If the job sleeps beyond its deadline, it is dead at once."""
    assert attempt.suspension is not None
    outcome = Outcome.suspended(tuple(attempt.suspension.requests.values()))
    left = attempt.until_deadline()
    if left is None or outcome.state == "waiting" or outcome.delay < left:
        return outcome
    late = DeadlineExceededError(f"The job asked to sleep {outcome.delay:g} s, but its deadline is sooner.")
    return Outcome.dead("deadline_exceeded", late, spec.keep)


def failed(
    spec: TaskSpec, attempt: Attempt, error: BaseException, *, crashed: bool = False, crash_limit: int = 3
) -> Conclusion:
    """Returns the conclusion of an attempt that ended in ``error``.

    This function raises no error, even if the user's exceptions and retry policies raise errors. Every executor relies on this.
    """
    attempt.spec = spec  # which values of the job are secret; an attempt that is refused has no spec yet
    if (nothing := attempt.nothing_to_settle()) is not None:
        return nothing
    if attempt.suspension is not None and attempt.is_suspending and is_suspension(error):
        if attempt.ending is not Ending.CANCELLED:
            return suspended(spec, attempt)
        error = Cancel("cancelled on request")
    decided = partial(_outcome, spec, attempt, crashed=crashed, crash_limit=crash_limit)
    try:
        return masked_outcome(attempt, decided(error, spec.retry))
    except BaseException as broken:  # noqa: BLE001
        emit(OutcomeUndecided(attempt.id, attempt.task, broken))
        return masked_outcome(attempt, decided(plain(error), DEFAULT_POLICY))


def _outcome(
    spec: TaskSpec, attempt: Attempt, error: BaseException, policy: RetryPolicy, *, crashed: bool, crash_limit: int
) -> Outcome:  # fmt: skip
    if attempt.ending is Ending.RELEASED:
        return Outcome.released()
    whole = attempt.cause_of(error)
    cause = deciding(whole, partial(_is_decisive, attempt, policy))
    outcome = _outcome_of(spec, attempt, cause, policy, crashed=crashed, crash_limit=crash_limit)
    return outcome if cause is whole else outcome.in_group(whole)


def _outcome_of(
    spec: TaskSpec, attempt: Attempt, cause: BaseException, policy: RetryPolicy, *, crashed: bool, crash_limit: int
) -> Outcome:  # fmt: skip
    """Returns the outcome for an error that is no group."""
    if (reason := _permanent(attempt, cause)) is not None:
        return Outcome.dead(reason, cause, spec.keep)
    decided = decide(
        cause,
        policy,
        attempt=1 if attempt.has_checkpoint else attempt.attempt,
        max_attempts=attempt.max_attempts,
        age=max(server_time.now() - attempt.created_at, 0.0),
        keep=spec.keep,
        crash_count=attempt.crash_count,
        crash_limit=crash_limit,
        crashed=crashed,
        left=attempt.until_deadline(),
    )
    is_recounted = attempt.has_checkpoint and decided.state == "retrying"
    return replace(decided, recounted=True) if is_recounted else decided


def _is_decisive(attempt: Attempt, policy: RetryPolicy, error: BaseException) -> bool:
    """Returns whether an error is an instruction, or makes the job dead at once. In a group, it then decides rather than other errors."""
    return is_instruction(error) or _permanent(attempt, error) is not None or policy.is_permanent(error)


# The reason for which a job is dead after each of these errors, because another attempt would end in the same way.
PERMANENT: tuple[tuple[type[PgQueueError], str], ...] = (
    (UndecodableJobError, "undecodable"),
    (BadResultError, "bad_result"),
    (SignalTimeoutError, "signal_timed_out"),
    (ChildrenFailedError, "children_failed"),
    (StepError, "bad_step"),
)


def _permanent(attempt: Attempt, cause: BaseException) -> str | None:
    """Returns the reason for which the job is dead if another attempt would end in the same way. None: the policy decides."""
    if isinstance(cause, InvalidArgumentsError) and not attempt.started_at:
        return "bad_arguments"
    return next((reason for kind, reason in PERMANENT if isinstance(cause, kind)), None)
