"""The names of spans and attributes, and the only import of opentelemetry.

A library depends on the API alone: unless the application has set up an SDK, nothing here does or costs anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind, Status, StatusCode

tracer = trace.get_tracer("pgqueue")


def carrier() -> dict[str, str]:
    """The current trace as W3C headers, to be stored with a job; empty outside a trace."""
    if not trace.get_current_span().get_span_context().is_valid:
        return {}
    headers: dict[str, str] = {}
    inject(headers)
    return headers


def is_traced() -> bool:
    """Whether an SDK is set up, so that spans go somewhere."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


@contextmanager
def enqueue_span(task: str, count: int) -> Iterator[None]:
    """``pgqueue.enqueue``: the enqueuing of ``count`` jobs."""
    attributes: dict[str, str | int] = {
        "messaging.system": "pgqueue",
        "pgqueue.task": task,
        "messaging.batch.message_count": count,
    }
    with tracer.start_as_current_span("pgqueue.enqueue", kind=SpanKind.PRODUCER, attributes=attributes):
        yield


@contextmanager
def run_span(
    task: str, job_id: int, queue: str, attempt: int, trace_context: str | None
) -> Iterator[trace.Span]:
    """``pgqueue.run``: one attempt, a child of the trace in which its job was enqueued."""
    attributes: dict[str, str | int] = {
        "messaging.system": "pgqueue",
        "messaging.destination.name": queue,
        "messaging.message.id": str(job_id),
        "pgqueue.task": task,
        "pgqueue.attempt": attempt,
    }
    parent = extract(json.loads(trace_context)) if trace_context else None
    with tracer.start_as_current_span(
        "pgqueue.run",
        parent,
        SpanKind.CONSUMER,
        attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def mark_failed(span: trace.Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
