"""Which job the current code works for, for log records. Each attempt runs in a context of its own, in which ``running`` is set.

This holds on the event loop, on threads of the worker and in child processes. A thread that a handler starts itself has an empty context,
unless the handler runs its function by ``contextvars.copy_context().run``; ``asyncio.to_thread`` does this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple, Protocol


class JobContext(NamedTuple):
    """The job and the attempt that run here. In the call of a chunk, ``job_id`` and ``attempt`` are None, and ``job_ids`` has all jobs."""

    job_id: int | None
    task: str
    queue: str
    attempt: int | None
    worker_id: int
    job_ids: tuple[int, ...] = ()


class Running(Protocol):
    """An attempt, or a chunk of attempts."""

    def context(self) -> JobContext: ...

    def mask(self, text: str) -> str:
        """Returns the text with a mask in the place of each secret value of the jobs."""


running: ContextVar[Running | None] = ContextVar("pgqueue_running", default=None)
_NO_JOB = dict.fromkeys(("job_id", "task", "queue", "attempt", "worker_id"))


def current_job() -> JobContext | None:
    """Returns the job for which the current code runs, or None outside a handler, its middleware and its hooks."""
    here = running.get()
    return None if here is None else here.context()


class _Trace:
    """``ids`` returns the ids of the current trace and span. tracing.py sets it, because only that module knows OpenTelemetry."""

    def __init__(self) -> None:
        self.ids: Callable[[], dict[str, str]] = dict


trace = _Trace()


def context_fields() -> dict[str, object]:
    """Returns the fields that a log record gets here: those of the job, and ``trace_id`` and ``span_id`` if a span is active."""
    job = current_job()
    found: dict[str, object] = {} if job is None else {name: getattr(job, name) for name in _NO_JOB}
    if job is not None and job.job_ids:
        found["job_ids"] = list(job.job_ids)
    return {**found, **trace.ids()}


class JobFields(logging.Filter):
    """A filter for the handlers of your logging configuration: it lets each record pass, with fields for formats such as ``%(job_id)s``.

    The fields are job_id, task, queue, attempt and worker_id, which are None outside a job, and trace_id and span_id, which are None
    without a span. A field that a record already has stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in {**_NO_JOB, "trace_id": None, "span_id": None, **context_fields()}.items():
            record.__dict__.setdefault(name, value)
        return True


class OwnFields(logging.Filter):
    """The filter of pgqueue's own logger. Records that are written while a job runs get its fields, and its secret values are masked."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in context_fields().items():
            record.__dict__.setdefault(name, value)
        here = running.get()
        if here is not None:
            record.msg, record.args = here.mask(record.getMessage()), ()
            record.exc_text = record.exc_text and here.mask(record.exc_text)
            for name in ("error", "why", "text"):
                if isinstance(value := record.__dict__.get(name), str):
                    record.__dict__[name] = here.mask(value)
        return True
