"""Makes the spans of pgqueue. No other module imports opentelemetry.

Like other libraries, pgqueue depends only on OpenTelemetry's API. If the application has not set up an SDK, the calls of this API have no
effect and cost almost no time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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
    """Returns the current trace as W3C headers, which are stored with a job. Outside a trace, returns no headers."""
    if not trace.get_current_span().get_span_context().is_valid:
        return {}
    headers: dict[str, str] = {}
    inject(headers)
    return headers


def is_traced() -> bool:
    """Returns whether the application has set up an SDK. Without an SDK, spans are dropped."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


@contextmanager
def enqueue_span(task: str, count: int) -> Iterator[None]:
    """Opens the span ``pgqueue.enqueue``, which lasts while ``count`` jobs are enqueued."""
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
    """Opens the span ``pgqueue.run``, which lasts as long as one attempt. The span is a child of the trace in which the job was enqueued.

    If the application's SDK cannot begin a span, yields None, because an error of the SDK must not make the attempt fail.
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
    """Returns the trace whose headers a job's row contains. Returns None if the text is empty or cannot be read.

    The text can be anything, because it is not checked when it is stored.
    """
    if not trace_context:
        return None
    try:
        said = json.loads(trace_context)
        headers = {name: value for name, value in said.items() if isinstance(value, str)}
        return extract(headers)
    except Exception:  # noqa: BLE001
        return None


def mark_failed(span: trace.Span, error: BaseException, mask: Callable[[str], str] = str) -> None:
    """Marks the span as failed, and adds the error to it, as ``span.record_exception`` does. ``mask`` masks secret values in its texts.

    Unlike that method, it also works for a user's exception whose ``__str__`` raises an error.
    """
    said = {
        "exception.type": name_of(error),
        "exception.message": mask(message(error)),
        "exception.stacktrace": mask(trace_of(error) or ""),
        "exception.escaped": "False",
    }
    try:
        span.add_event("exception", said)
        span.set_status(Status(StatusCode.ERROR, name_of(error)))
    except Exception as broken:  # noqa: BLE001
        emit(SpanNotMarked(broken))
