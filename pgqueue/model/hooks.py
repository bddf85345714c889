"""Functions that users write and pgqueue calls: hooks after an event of a job, and middleware around each attempt.

A hook runs in a separate job, of the task ``<task>:on_<event>``. The statement that writes the outcome also stores this job (settle.sql,
rescue.sql, finish_overdue.sql). So the job exists if and only if the outcome was committed. Like any job, it runs at least once, even if
its worker dies.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, TypeVar

from pgqueue.errors import InvalidOptionError
from pgqueue.model.declaring import Runs
from pgqueue.model.job import Job
from pgqueue.model.names import check_name
from pgqueue.sql import JsonObject
from pgqueue.text.values import shown

Event = Literal["completed", "failed", "dead", "stalled", "retry"]
EVENTS: tuple[Event, ...] = ("completed", "failed", "dead", "stalled", "retry")
# The queue of the jobs that run hooks. settle.sql, rescue.sql, finish_overdue.sql and make_dead.sql use the same name.
QUEUE = "pgqueue.hooks"
TIMES = frozenset({"run_at", "created_at", "started_at", "finished_at", "expires_at", "deadline_at"})


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed. Every hook except on_completed gets such an object beside the job.

    ``reason`` is the reason of the transition: failed, permanent_error, attempts_exhausted, crash_loop, rescued and so on.
    ``error`` is a text such as ``ValueError: bad address``. ``traceback`` is None if there is no traceback, for example after a crash.
    """

    reason: str
    error: str
    traceback: str | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One attempt of a job, as middleware gets it. Middleware runs around the call of the handler.

    ``arguments``: the values that the handler gets, checked and converted. They are its keyword arguments or, in a chunk, the job's item.
    ``result``: the value that the handler returned. If middleware changes ``arguments`` or ``result``, pgqueue uses the new values.
    ``headers``: of the trace in which the job was created, such as ``traceparent``.
    """

    job: Job
    arguments: Any
    result: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


CompletedHook = Callable[[Job], object]
Hook = Callable[[Job, Failure], object]
C = TypeVar("C", bound=CompletedHook)
H = TypeVar("H", bound=Hook)
Layer = Callable[[Call], AbstractContextManager[object] | AbstractAsyncContextManager[object]]
M = TypeVar("M", bound=Callable[[Call], Iterator[None] | AsyncIterator[None]] | Layer)


class Hooked:
    """The base class of apps and of tasks. It has the decorators that declare hooks. A hook can be a ``def`` or an ``async def``."""

    def __init__(self) -> None:
        self.hooks: dict[Event, list[Callable[..., object]]] = {}
        self._runs = Runs()

    def on_completed(self, hook: C) -> C:
        """``hook(job)`` runs after a job has completed."""
        self._add("completed", hook)
        return hook

    def on_failed(self, hook: H) -> H:
        """``hook(job, failure)`` runs after each failed attempt, whether another attempt follows or the job is dead."""
        self._add("failed", hook)
        return hook

    def on_retry(self, hook: H) -> H:
        """``hook(job, failure)`` runs after each failed attempt that another attempt will follow."""
        self._add("retry", hook)
        return hook

    def on_dead(self, hook: H) -> H:
        """``hook(job, failure)`` runs after a job has become dead, also if it is dead because its workers crashed."""
        self._add("dead", hook)
        return hook

    def on_stalled(self, hook: H) -> H:
        """``hook(job, failure)`` runs after a job was rescued from a worker that died or lost its lease."""
        self._add("stalled", hook)
        return hook

    def _add(self, event: Event, hook: Callable[..., object]) -> None:
        takes = ("job",) if event == "completed" else ("job", "failure")
        try:
            inspect.signature(hook).bind(*takes)
        except (TypeError, ValueError):
            raise InvalidOptionError(
                f"on_{event} is {shown(hook)}.", do=f"give a function of ({', '.join(takes)})"
            ) from None
        self._runs.put(self.hooks.setdefault(event, []), hook)


def hook_name(task: str, event: Event) -> str:
    """Returns the name of the task of a hook's jobs. Raises InvalidNameError if that name is too long."""
    return check_name("task", f"{task}:on_{event}")


def job_told(values: JsonObject) -> Job:
    """Makes the ``Job`` that a hook gets, from the arguments of the job that runs the hook (hook_args.sql makes these arguments).

    The ``Job`` has the values that its row had just after the event.
    """
    known = {field.name for field in fields(Job)} - {"lease"}
    found = {name: value for name, value in values.items() if name in known}
    found["progressed"] = values.get("progress")
    for name in TIMES & found.keys():
        found[name] = None if found[name] is None else datetime.fromisoformat(found[name])
    return Job(**{"args": {}, **found, "tags": tuple(found.get("tags") or ())})


def as_layer(function: object) -> Layer:
    """Turns middleware of any form into a function that makes a context manager for a Call. Raises InvalidOptionError for other objects."""
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        return contextmanager(function)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidOptionError(
            f"{shown(function)} is no middleware.",
            do="write a generator (def or async def) with one yield, or give a function that returns a context manager for a Call",
        )
    layer: Layer = function
    return layer
