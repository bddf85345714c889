"""The facts about mistakes in users' code. None of these mistakes does harm, because pgqueue logs the mistake and repairs the damage.

``raised`` is the exception that users' code raised. Its log line shows a copy of the exception that contains no code of users (log.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class InstructionUnclear(NamedTuple):
    """A handler raised ``Snooze``, ``RateLimited`` or ``Retry``, but with an unusable time. This counts as a failure of the attempt."""

    raised: BaseException


class PolicyFailed(NamedTuple):
    """A part of a retry policy failed, so a default replaces its answer."""

    part: Literal["permanent", "stop", "wait"]
    raised: BaseException


class OutcomeUndecided(NamedTuple):
    """The user's exception or retry policy raised an error when the outcome was decided. So the default policy decides the outcome."""

    job_id: int
    task: str
    raised: BaseException


class HookFailed(NamedTuple):
    """A hook raised an error. ``job_id``: the id of the job whose event called the hook, as it is in the arguments of the hook's own job.

    ``job_id`` can be any object, because arguments can contain any JSON.
    """

    hook: str
    hook_task: str
    job_id: object
    raised: BaseException


class EndOfWorkerAsked(NamedTuple):
    """Users' code that ran on the worker's event loop asked the worker to end, by SystemExit, KeyboardInterrupt or ``loop.stop()``."""

    raised: BaseException


class SpanNotBegun(NamedTuple):
    """The application's OpenTelemetry SDK raised an error. SpanNotEnded and SpanNotMarked are emitted for the same reason."""

    job_id: int
    raised: BaseException


class SpanNotEnded(NamedTuple):
    job_id: int
    raised: BaseException


class SpanNotMarked(NamedTuple):
    """The span of a failed attempt could not be marked as failed."""

    raised: BaseException


class SignalTaken(NamedTuple):
    """A handler changed how the worker's process handles a signal."""

    signal: str


class ExecutorShutDown(NamedTuple):
    """A handler shut down the executor of the worker's loop."""


class TaskFactoryFailed(NamedTuple):
    """A handler set a task factory on the worker's loop, and the factory failed."""

    bug: BaseException


class ForkCameBack(NamedTuple):
    """A handler forked the process ``pid``, and that process returned from the handler."""

    pid: int


class CallbackFailed(NamedTuple):
    """A callback of ``@app.on(event)`` raised an error. Its failures are emitted at most once a minute."""

    callback: str
    on_event: str
    raised: BaseException


class CallbackBehind(NamedTuple):
    """A callback is so slow that ``waiting`` events wait for it, so it misses events."""

    callback: str
    on_event: str
    waiting: int


class RequestFailed(NamedTuple):
    """The HTTP API or the web page could not serve a request. The caller was told only that, and not the error."""

    method: str
    path: str
    raised: BaseException
