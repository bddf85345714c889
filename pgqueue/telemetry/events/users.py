"""Facts of what users' code did that it should not. Each is harmless: it is told, and what it spoiled is made good.

``raised``: what that code raised. It is shown without calling that code again.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class InstructionUnclear(NamedTuple):
    """A ``Snooze``, ``RateLimited`` or ``Retry`` that does not say for how long counts as a failure."""

    raised: BaseException


class PolicyFailed(NamedTuple):
    """A part of a retry policy failed; what stands for its answer is the default."""

    part: Literal["permanent", "stop", "wait"]
    raised: BaseException


class OutcomeUndecided(NamedTuple):
    """The user's exception or policy let no outcome be decided, so the default policy decides."""

    job_id: int
    task: str
    raised: BaseException


class HookFailed(NamedTuple):
    """``job_id`` is what the stored arguments of the hook say."""

    hook: str
    name: str
    job_id: object
    raised: BaseException


class EndOfWorkerAsked(NamedTuple):
    """By SystemExit, KeyboardInterrupt or ``loop.stop()`` of something on the loop."""

    raised: BaseException


class SpanNotBegun(NamedTuple):
    """The application's SDK of OpenTelemetry raised, here and in the next two."""

    job_id: int
    raised: BaseException


class SpanNotEnded(NamedTuple):
    job_id: int
    raised: BaseException


class SpanNotMarked(NamedTuple):
    """As that of a failed attempt."""

    raised: BaseException


class SignalTaken(NamedTuple):
    """A handler changed how the worker handles a signal."""

    signal: str


class ExecutorShutDown(NamedTuple):
    """The executor of the worker's loop, by a handler."""


class TaskFactoryFailed(NamedTuple):
    """That of the worker's loop, which a handler set."""

    bug: BaseException


class ForkCameBack(NamedTuple):
    """A process that a handler forked, ``pid``, came back from that handler."""

    pid: int
