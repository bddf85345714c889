"""The outcomes of attempts, the exceptions with which a handler chooses an outcome, and the function that decides on an outcome.

Outcomes are made only by their class methods. So no code can write a transition that is not allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

from pgqueue.errors import DeadlineExceededError
from pgqueue.model.retry import RetryPolicy
from pgqueue.model.suspension import Request
from pgqueue.model.units import seconds
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import InstructionUnclear
from pgqueue.text.described import ERROR_LIMIT, clean, describe, message, trace

Keep = Literal["all", "failures", "none"]
# The shortest delay of a snooze, in seconds. The attempt of a snooze does not count. So a job that always snoozes for 0 seconds would
# otherwise run again and again, and occupy its worker.
SHORTEST = 0.1


class Snooze(Exception):  # noqa: N818 - an instruction, not an error
    """Raised (or returned) by a handler: run the job again after ``delay`` seconds, but at least 0.1. The attempt does not count."""

    def __init__(self, delay: float | str | timedelta) -> None:
        super().__init__(f"snoozed for {delay}")
        self.delay = seconds(delay, "Snooze", past=False)


class RateLimited(Exception):  # noqa: N818
    """Raised (or returned) by a handler: a service refuses further calls for some time, for example with HTTP 429 and Retry-After.

    ``retry_after``: how many seconds the pause lasts, or its end as a date in the format of HTTP. During the pause, no job with the same
    concurrency_key starts. If the job has no such key, no job of the same task starts. The attempt does not count. 0 and a past date count
    as 0.1 seconds.
    """

    def __init__(self, retry_after: float | str | timedelta) -> None:
        super().__init__(f"limited for {retry_after}")
        if isinstance(retry_after, str) and "," in retry_after:
            with suppress(ValueError):
                # If the zone is written as -0000, it means UTC, but Python returns a datetime without a zone.
                until = parsedate_to_datetime(retry_after)
                left = (until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)
                retry_after = max(left, timedelta(0))
        self.retry_after = seconds(retry_after, "RateLimited", past=False)


class Cancel(Exception):  # noqa: N818
    """Raised (or returned) by a handler: end this job as cancelled. This does not count as a failure."""

    def __init__(self, why: str = "cancelled by its handler") -> None:
        super().__init__(why)


class Retry(Exception):  # noqa: N818
    """Raised (or returned) by a handler: this attempt failed, try the job again after ``after`` seconds. None: the policy says when."""

    def __init__(
        self, why: str = "the handler asked for a retry", *, after: float | str | timedelta | None = None
    ) -> None:
        super().__init__(why)
        self.after = None if after is None else seconds(after, "Retry(after=)", past=False)


class Dead(Exception):  # noqa: N818
    """Raised (or returned) by a handler: make this job dead, even if it has attempts left."""

    def __init__(self, why: str = "given up by its handler") -> None:
        super().__init__(why)


INSTRUCTIONS = (Snooze, RateLimited, Cancel, Retry, Dead)


def is_instruction(error: BaseException) -> bool:
    """Whether the error is an instruction. Only its real type counts, because a user's class can define another ``__class__``."""
    return issubclass(type(error), INSTRUCTIONS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt, as settle.sql writes it. ``delay``: seconds from the write until the job is due. ``result``: JSON text.

    ``kept`` False: the row of the finished job is not kept. ``counted`` False: the attempt does not count. ``crashed``: the process of the
    attempt crashed. ``begun`` False: no handler was called. ``paused``: until ``delay`` is over, no job with the same concurrency_key starts;
    if the job has no such key, no job of its task starts. ``progress``: the handler's last progress, if it is not written yet.
    ``recounted``: this attempt counts as attempt 1, because it has stored a checkpoint. ``requests``: the sleeps and waits of an attempt
    that is suspended, which suspend.sql writes. ``span``: the span of this attempt, to which that of the next attempt is linked.
    """

    state: Literal["completed", "cancelled", "dead", "retrying", "pending", "waiting"]
    reason: str
    delay: float = 0.0
    result: str | None = None
    error: str | None = None
    traceback: str | None = None
    kept: bool = True
    counted: bool = True
    crashed: bool = False
    begun: bool = True
    paused: bool = False
    progress: Mapping[str, object] | None = None
    recounted: bool = False
    requests: tuple[Request, ...] = ()
    span: str | None = None

    @classmethod
    def completed(cls, result: str | None = None, keep: Keep = "all") -> Outcome:
        return cls("completed", "completed", result=result, kept=keep == "all")

    @classmethod
    def retried(cls, delay: float, error: BaseException, *, crashed: bool = False) -> Outcome:
        return cls(
            "retrying", "failed", delay, error=describe(error), traceback=trace(error), crashed=crashed
        )

    @classmethod
    def snoozed(cls, delay: float) -> Outcome:
        return cls("pending", "snoozed", delay, counted=False)

    @classmethod
    def rate_limited(cls, delay: float) -> Outcome:
        return cls("pending", "rate_limited", delay, counted=False, paused=True)

    @classmethod
    def suspended(cls, requests: tuple[Request, ...]) -> Outcome:
        """The outcome of an attempt that sleeps, or waits for a signal. The job goes on when the first request is over."""
        if any(request.kind == "wait" for request in requests):
            return cls("waiting", "waiting", counted=False, requests=requests)
        delay = min(request.delay or 0.0 for request in requests)
        return cls("pending", "sleeping", delay, counted=False, requests=requests)

    @classmethod
    def released(cls, *, begun: bool = True, delay: float = 0.0) -> Outcome:
        return cls("pending", "released", delay, counted=False, begun=begun)

    @classmethod
    def postponed(cls, delay: float, error: BaseException) -> Outcome:
        """The outcome of a job that is released before its handler is called, because something that it needs to run is missing."""
        return cls("pending", "released", max(delay, 0.0), error=describe(error), counted=False, begun=False)

    @classmethod
    def cancelled(cls, why: str, keep: Keep = "all") -> Outcome:
        return cls("cancelled", "cancelled", error=clean(why, ERROR_LIMIT), kept=keep != "none")

    @classmethod
    def expired(cls, keep: Keep = "all") -> Outcome:
        return cls("cancelled", "expired", error="It had not started when it expired.", kept=keep != "none")

    @classmethod
    def dead(cls, reason: str, error: BaseException, keep: Keep = "all", *, crashed: bool = False) -> Outcome:
        return cls(
            "dead",
            reason,
            error=describe(error),
            traceback=trace(error),
            kept=keep != "none",
            crashed=crashed,
        )

    def in_group(self, group: BaseException) -> Outcome:
        """Returns this outcome of an error in a group. If the attempt has failed, the text names the group, too, and the traceback is whole."""
        if self.state not in ("dead", "retrying"):
            return self
        error = clean(f"{self.error} (in {describe(group)})", ERROR_LIMIT)
        return replace(self, error=error, traceback=trace(group))


# Completions without a result. complete.sql writes them at a third of the cost of settle.sql. COMPLETED keeps the job's row, FORGOTTEN
# does not.
COMPLETED, FORGOTTEN = Outcome.completed(), Outcome.completed(keep="none")


def decide(
    error: BaseException,
    policy: RetryPolicy,
    *,
    attempt: int,
    max_attempts: int,
    age: float,
    keep: Keep = "all",
    crash_count: int = 0,
    crash_limit: int = 3,
    crashed: bool = False,
    left: float | None = None,
) -> Outcome:
    """Returns the outcome of an attempt that ended with ``error``.

    ``age``: seconds since the job was enqueued. ``left``: seconds until its deadline, if it has one. If the next attempt would begin
    after the deadline, the job is dead.
    """
    left = math.inf if left is None else left
    match error:
        case Snooze() | RateLimited() if (asked := _asked(error)) is not None:
            delay = max(asked, SHORTEST)
            if delay >= left:
                late = DeadlineExceededError(
                    f"The job asked to wait {delay:g} s, but its deadline is sooner."
                )
                return Outcome.dead("deadline_exceeded", late, keep)
            return Outcome.snoozed(delay) if isinstance(error, Snooze) else Outcome.rate_limited(delay)
        case Cancel():
            return Outcome.cancelled(message(error), keep)
        case Dead():
            return Outcome.dead("given_up", error, keep, crashed=crashed)
    if isinstance(error, DeadlineExceededError):
        reason = "deadline_exceeded"
    elif crashed and crash_count + 1 >= crash_limit:
        reason = "crash_loop"
    elif not isinstance(error, Retry) and policy.is_permanent(error):
        reason = "permanent_error"
    elif attempt >= max_attempts or policy.gives_up(attempt, age, error):
        reason = "attempts_exhausted"
    else:
        asked = _asked(error) if isinstance(error, Retry) else None
        delay = policy.delay(attempt, age, error) if asked is None else asked
        if delay < left:
            return Outcome.retried(delay, error, crashed=crashed)
        reason = "deadline_exceeded"
    return Outcome.dead(reason, error, keep, crashed=crashed)


def _asked(instruction: Snooze | RateLimited | Retry) -> float | None:
    """Returns how many seconds the instruction asks to wait. None: the instruction has no time, or its value is no valid time.

    The value was checked when the instruction was made. It is checked again here, because a user's code can change it.
    """
    try:
        match instruction:
            case Snooze():
                return seconds(instruction.delay, "Snooze.delay", past=False)
            case RateLimited():
                return seconds(instruction.retry_after, "RateLimited.retry_after", past=False)
            case Retry():
                return (
                    None
                    if instruction.after is None
                    else seconds(instruction.after, "Retry.after", past=False)
                )
    except BaseException as broken:  # noqa: BLE001
        emit(InstructionUnclear(broken))
        return None
