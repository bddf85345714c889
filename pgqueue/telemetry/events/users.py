"""Facts of wrong things that users' code did. None of them does harm: pgqueue logs it and repairs the damage.

``raised``: the exception that such code raised. Its log line is made without calling such code again.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class InstructionUnclear(NamedTuple):
    """A ``Snooze``, ``RateLimited`` or ``Retry`` that does not say for how long counts as a failure."""

    raised: BaseException


class PolicyFailed(NamedTuple):
    """A part of a retry policy failed, so a default replaces its answer."""

    part: Literal["permanent", "stop", "wait"]
    raised: BaseException


class OutcomeUndecided(NamedTuple):
    """The user's exception or policy prevented the decision on an outcome, so the default policy decides."""

    job_id: int
    task: str
    raised: BaseException


class HookFailed(NamedTuple):
    """``job_id``: the id in the stored arguments of the hook, which may hold anything."""

    hook: str
    name: str
    job_id: object
    raised: BaseException


class EndOfWorkerAsked(NamedTuple):
    """User code on the loop asked the worker to end, by SystemExit, KeyboardInterrupt or ``loop.stop()``."""

    raised: BaseException


class SpanNotBegun(NamedTuple):
    """The application's OpenTelemetry SDK raised an error. SpanNotEnded and SpanNotMarked have the same cause."""

    job_id: int
    raised: BaseException


class SpanNotEnded(NamedTuple):
    job_id: int
    raised: BaseException


class SpanNotMarked(NamedTuple):
    """A span could not be marked as that of a failed attempt."""

    raised: BaseException


class SignalTaken(NamedTuple):
    """A handler changed how the worker handles a signal."""

    signal: str


class ExecutorShutDown(NamedTuple):
    """A handler shut down the executor of the worker's loop."""


class TaskFactoryFailed(NamedTuple):
    """A handler set a task factory on the worker's loop, and the factory failed."""

    bug: BaseException


class ForkCameBack(NamedTuple):
    """A handler forked the process ``pid``, and that process returned from the handler."""

    pid: int
