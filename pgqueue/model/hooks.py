"""What pgqueue tells a user's functions about jobs: hooks after an outcome, and middleware around each attempt.

A hook runs in a job of its own, ``<task>:on_<event>``. The statement that writes the outcome also stores this job (settle.sql,
rescue.sql, finish_overdue.sql). So the job exists if and only if the outcome does. Like any job, it runs at least once, even if a worker
dies meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, fields
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
QUEUE = "pgqueue.hooks"  # settle.sql, rescue.sql, finish_overdue.sql
TIMES = frozenset({"run_at", "created_at", "started_at", "finished_at", "expires_at", "deadline_at"})


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed, as a hook gets it.

    ``reason`` is the reason of the transition: failed, permanent_error, attempts_exhausted, crash_loop, rescued and so on.
    ``error`` reads like ``ValueError: bad address``. If there is no traceback, as after a crash, ``traceback`` is None.
    """

    reason: str
    error: str
    traceback: str | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One attempt, as middleware sees it around the call of its handler.

    ``arguments`` are what the handler gets, checked and converted: its keyword arguments or, in a chunk, the one item.
    ``result`` is what the handler returned. If middleware changes ``arguments`` or ``result``, the new value counts.
    """

    job: Job
    arguments: Any
    result: Any = None


CompletedHook = Callable[[Job], object]
Hook = Callable[[Job, Failure], object]
C = TypeVar("C", bound=CompletedHook)
H = TypeVar("H", bound=Hook)
Layer = Callable[[Call], AbstractContextManager[object] | AbstractAsyncContextManager[object]]
M = TypeVar("M", bound=Callable[[Call], Iterator[None] | AsyncIterator[None]] | Layer)


class Hooked:
    """What both an app and a task have: decorators that declare hooks. Their functions may be ``def`` or ``async def``."""

    def __init__(self) -> None:
        self.hooks: dict[Event, list[Callable[..., object]]] = {}
        self._runs = Runs()

    def on_completed(self, hook: C) -> C:
        """``hook(job)`` runs after a job has completed."""
        self._add("completed", hook)
        return hook

    def on_failed(self, hook: H) -> H:
        """``hook(job, failure)`` runs after each attempt that failed, whatever follows."""
        self._add("failed", hook)
        return hook

    def on_retry(self, hook: H) -> H:
        """``hook(job, failure)`` runs after an attempt that failed and will be followed by another."""
        self._add("retry", hook)
        return hook

    def on_dead(self, hook: H) -> H:
        """``hook(job, failure)`` runs after a job has died, also if its workers crashed."""
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
    """The task of a hook's jobs; raises InvalidNameError if the task's own name is too long for it."""
    return check_name("task", f"{task}:on_{event}")


def job_told(values: JsonObject) -> Job:
    """The job in a hook's arguments (hook_args.sql), as its outcome left it."""
    known = {field.name for field in fields(Job)} - {"lease"}
    found = {name: value for name, value in values.items() if name in known}
    found["progressed"] = values.get("progress")
    for name in TIMES & found.keys():
        found[name] = None if found[name] is None else datetime.fromisoformat(found[name])
    return Job(**{"args": {}, **found, "tags": tuple(found.get("tags") or ())})


def as_layer(function: object) -> Layer:
    """Middleware as something that makes a context manager for each call; raises InvalidOptionError."""
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        return contextmanager(function)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidOptionError(
            f"{shown(function)} is no middleware.",
            do="write a generator, def or async def, with one yield; or give what makes a context manager for a Call",
        )
    layer: Layer = function
    return layer
