"""The names of spans and attributes, and the only import of opentelemetry.

As a library should, pgqueue depends only on OpenTelemetry's API. Unless the application has set up an SDK, this module does nothing and
costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind, Status, StatusCode

from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import SpanNotBegun, SpanNotEnded, SpanNotMarked
from pgqueue.text.described import message
from pgqueue.text.described import trace as trace_of
from pgqueue.text.values import name_of

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
) -> Iterator[trace.Span | None]:
    """``pgqueue.run``: one attempt, a child of the trace in which its job was enqueued.

    If the application's SDK cannot begin a span, yields None, because a failure of the SDK must not decide the outcome.
    """
    attributes: dict[str, str | int] = {
        "messaging.system": "pgqueue",
        "messaging.destination.name": queue,
        "messaging.message.id": str(job_id),
        "pgqueue.task": task,
        "pgqueue.attempt": attempt,
    }
    span = token = None
    try:
        span = tracer.start_span("pgqueue.run", _parent(trace_context), SpanKind.CONSUMER, attributes)
        token = context.attach(trace.set_span_in_context(span))
    except Exception as broken:  # noqa: BLE001
        emit(SpanNotBegun(job_id, broken))
    try:
        yield span
    finally:
        try:
            if token is not None:
                context.detach(token)
            if span is not None:
                span.end()
        except Exception as broken:  # noqa: BLE001
            emit(SpanNotEnded(job_id, broken))


def _parent(trace_context: str | None) -> context.Context | None:
    """The trace that a job's row names, or None if the text holds no headers: any enqueuer may have written it."""
    if not trace_context:
        return None
    try:
        said = json.loads(trace_context)
        headers = {name: value for name, value in said.items() if isinstance(value, str)}
        return extract(headers)
    except Exception:  # noqa: BLE001
        return None


def mark_failed(span: trace.Span, error: BaseException) -> None:
    """Does what ``span.record_exception`` does, but guards the call of the ``__str__`` of the user's exception."""
    said = {
        "exception.type": name_of(error),
        "exception.message": message(error),
        "exception.stacktrace": trace_of(error) or "",
        "exception.escaped": "False",
    }
    try:
        span.add_event("exception", said)
        span.set_status(Status(StatusCode.ERROR, name_of(error)))
    except Exception as broken:  # noqa: BLE001
        emit(SpanNotMarked(broken))
