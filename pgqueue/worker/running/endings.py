"""How an attempt ends: what its handler returned or raised, or what was done to it from outside, as the outcome to be settled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from types import GeneratorType

from pgqueue.errors import (
    BadResultError,
    DeadlineExceededError,
    InvalidArgumentsError,
    LeaseLostError,
    UndecodableJobError,
)
from pgqueue.model.names import is_reserved
from pgqueue.model.outcome import INSTRUCTIONS, Cancel, Outcome, decide
from pgqueue.model.retry import DEFAULT_POLICY, RetryPolicy
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import OutcomeUndecided
from pgqueue.text.described import plain
from pgqueue.worker.attempt import Attempt, timeout_error


def refused(spec: TaskSpec, attempt: Attempt) -> Outcome | None:
    """The outcome of an attempt whose row was made up, or that has waited too long for its turn; None if it may begin."""
    if is_reserved(attempt.task) and not (attempt.rare and attempt.rare.stored_by_pgqueue):
        return failed(spec, attempt, UndecodableJobError("Only pgqueue itself stores jobs of this name."))
    return too_late(spec, attempt)


def too_late(spec: TaskSpec, attempt: Attempt) -> Outcome | None:
    """The outcome of an attempt that has waited too long for its turn; None if it may begin."""
    left = attempt.until_deadline()
    if left is not None and left <= 0:
        late = failed(spec, attempt, DeadlineExceededError("Its deadline passed before it could begin."))
        return None if late is None else replace(late, begun=False)
    if attempt.rare is None or attempt.rare.expires is None or attempt.rare.expires > monotonic():
        return None
    return Outcome.expired(spec.keep)


def value_of(value: object) -> object:
    """What a handler returned: an instruction is raised, a generator is run to its end, which may raise one too."""
    if isinstance(value, GeneratorType):
        return list(value)
    if isinstance(value, INSTRUCTIONS):
        raise value
    return value


def succeeded(spec: TaskSpec, attempt: Attempt, value: object) -> Outcome | None:
    """The outcome of a handler that returned; None if it has completed the job in its own transaction, or its lease is lost."""
    if attempt.settled or attempt.lost:
        return None
    if value is None:
        return spec.completion
    result = spec.encode_result(value_of(value))
    return spec.completion if result is None else Outcome.completed(result, spec.keep)


def stopped(attempt: Attempt, error: BaseException) -> BaseException:
    """What ended an attempt, if it was ended from outside; else the error that its handler raised."""
    if attempt.timed_out:
        return timeout_error(attempt).with_traceback(error.__traceback__)
    if issubclass(type(error), asyncio.CancelledError):  # its __class__ may lie
        if attempt.lost:
            return LeaseLostError(attempt.id, attempt.lease_id)
        if attempt.cancelled:
            return Cancel("cancelled on request")
    return error


def failed(
    spec: TaskSpec, attempt: Attempt, error: BaseException, *, crashed: bool = False, crash_limit: int = 3
) -> Outcome | None:
    """The outcome of an attempt that ended in ``error``; None if there is nothing left to settle.

    The last line of defence: every executor counts on it to raise nothing, even if the user's exceptions and policies do.
    """
    if attempt.settled or attempt.lost:
        return None
    verdict = partial(_verdict, spec, attempt, crashed=crashed, crash_limit=crash_limit)
    try:
        return verdict(error, spec.retry)
    except BaseException as broken:  # noqa: BLE001
        emit(OutcomeUndecided(attempt.id, attempt.task, broken))
        return verdict(plain(error), DEFAULT_POLICY)


def _verdict(
    spec: TaskSpec, attempt: Attempt, error: BaseException, policy: RetryPolicy, *, crashed: bool, crash_limit: int
) -> Outcome:  # fmt: skip
    told = stopped(attempt, error)
    if told is error and attempt.released:
        return Outcome.released()
    match told:
        case InvalidArgumentsError() if not attempt.started_at:
            return Outcome.dead("bad_arguments", told, spec.keep)
        case UndecodableJobError():
            return Outcome.dead("undecodable", told, spec.keep)
        case BadResultError():
            return Outcome.dead("bad_result", told, spec.keep)
    return decide(
        told,
        policy,
        attempt=attempt.attempt,
        max_attempts=attempt.max_attempts,
        age=max(server_time.now() - attempt.created_at, 0.0),
        keep=spec.keep,
        crash_count=attempt.crash_count,
        crash_limit=crash_limit,
        crashed=crashed,
        left=attempt.until_deadline(),
    )
