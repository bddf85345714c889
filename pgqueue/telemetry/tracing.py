"""Makes the spans of pgqueue, by the names of OpenTelemetry's conventions for messaging systems (conventions.py).

Like other libraries, pgqueue depends only on OpenTelemetry's API. If the application has not set up an SDK, the calls of this API have no
effect and cost almost no time.

A job's row contains the context in which the job was created, as W3C headers. The span of an attempt is linked to that context, and to the
span of the attempt before. By default, it is not a child of that context, because an attempt can run days later, and can be the fifth. The
environment variable PGQUEUE_TRACE_RELATION changes this.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from pgqueue.telemetry import conventions as names
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import SpanNotBegun, SpanNotEnded, SpanNotMarked
from pgqueue.telemetry.guard import Failure, guarded
from pgqueue.telemetry.job_context import trace as trace_of_records
from pgqueue.text.described import message
from pgqueue.text.described import trace as trace_of
from pgqueue.text.values import name_of

tracer = trace.get_tracer("pgqueue", schema_url=names.SCHEMA)

# The key of the attempt before, in the stored headers. Its value has the id of the job, because hooks get the headers of their jobs.
FORMER_ATTEMPT = "pgqueue-attempt"
RELATIONS = ("link", "parent", "both")
CREATED = 100  # the jobs of a larger enqueue have no span of their own

Span = trace.Span
Attributes = dict[str, str | int]
Server = tuple[str, int | None]  # the address and the port of the database


class Attempted(NamedTuple):
    """The attempt that a span is about. ``trace_context``: the headers that are stored with the job, as JSON text."""

    job_id: int
    task: str
    queue: str
    attempt: int
    max_attempts: int
    worker_id: int
    workflow_id: int | None
    trace_context: str | None
    version: str
    server: Server | None


_sources: tuple[Callable[[], dict[str, str]], ...] = ()
_failure = Failure("another tracer failed, so its headers are missing")


def add_source(source: Callable[[], dict[str, str]]) -> None:
    """Makes ``carrier`` also return the headers of another tracer, which ``source`` returns."""
    global _sources  # noqa: PLW0603
    _sources = (*_sources, source)


def carrier(within: context.Context | None = None) -> dict[str, str]:
    """Returns the current trace as W3C headers, which are stored with a job. Outside a trace, returns no headers."""
    headers: dict[str, str] = {}
    for source in _sources:
        guarded(_failure, lambda found=source: headers.update(found()))
    if trace.get_current_span(within).get_span_context().is_valid:
        inject(headers, within)
    return headers


def ids() -> dict[str, str]:
    """Returns the ids of the current trace and span, as log records have them. Without a span, returns none."""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(span.trace_id), "span_id": trace.format_span_id(span.span_id)}


trace_of_records.ids = ids


def is_traced() -> bool:
    """Returns whether the application has set up an SDK. Without an SDK, spans are dropped."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def relation() -> str:
    """Returns how the span of an attempt relates to the context in which the job was created: by a link, as its child, or both."""
    chosen = os.environ.get("PGQUEUE_TRACE_RELATION", "link").strip().lower()
    return chosen if chosen in RELATIONS else "link"


def _attributes(operation: str, queue: str, task: str, server: Server | None) -> Attributes:
    found: Attributes = {
        names.SYSTEM: names.OUR_SYSTEM,
        names.OPERATION: operation,
        names.OPERATION_TYPE: operation,
    }
    if queue:
        found[names.DESTINATION] = queue
    if task:
        found[names.TASK] = task
    if server is not None:
        found[names.SERVER_ADDRESS] = server[0]
        if server[1] is not None:
            found[names.SERVER_PORT] = server[1]
    return found


# ------------------------------------------------------------------ enqueuing


class Created(NamedTuple):
    """The span ``create`` of one job of a batch. ``headers``: its context, which is stored with the job."""

    span: trace.Span
    headers: dict[str, str]
    ended_at: int

    def end(self, job_id: int | None) -> None:
        """Ends the span as of the time of its creation."""
        if job_id is not None:
            self.span.set_attribute(names.MESSAGE_ID, str(job_id))
        self.span.end(self.ended_at)


def create(queue: str, task: str, server: Server | None) -> Created:
    """Begins the span ``create`` of one job of a batch."""
    span = tracer.start_span(
        f"create {queue}", kind=SpanKind.PRODUCER, attributes=_attributes("create", queue, task, server)
    )
    return Created(span, carrier(trace.set_span_in_context(span)), time.time_ns())


@contextmanager
def send_span(
    queue: str, task: str, count: int | None, server: Server | None, created: Sequence[Created] = ()
) -> Iterator[trace.Span]:
    """Opens the span ``send``, which lasts while jobs are enqueued.

    ``queue`` and ``task`` are empty if the jobs have several. ``count``: how many jobs a batch has; None: one job is enqueued alone.
    """
    attributes = _attributes("send", queue, task, server)
    if count is not None:
        attributes[names.BATCH_COUNT] = count
    # Without spans ``create``, the context of this span is the one in which the jobs were created.
    kind = SpanKind.CLIENT if created else SpanKind.PRODUCER
    links = [Link(one.span.get_span_context()) for one in created]
    name = f"send {queue}" if queue else "send"
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, links=links, record_exception=False, set_status_on_exception=False
    ) as span:  # fmt: skip
        try:
            yield span
        except BaseException as error:
            mark_failed(span, error)
            raise


def note_id(span: trace.Span, job_id: int) -> None:
    span.set_attribute(names.MESSAGE_ID, str(job_id))


# ------------------------------------------------------------------ running


@contextmanager
def process_span(of: Attempted) -> Iterator[trace.Span | None]:
    """Opens the span ``process``, which lasts as long as one attempt.

    If the application's SDK cannot begin a span, yields None, because an error of the SDK must not make the attempt fail.
    """
    span = token = None
    try:
        within, links = _related(of)
        span = tracer.start_span(
            f"process {of.queue}", within, SpanKind.CONSUMER, _attributes_of(of), links=links
        )
        token = context.attach(trace.set_span_in_context(span, within))
    except Exception as broken:  # noqa: BLE001
        emit(SpanNotBegun(of.job_id, broken))
    try:
        yield span
    finally:
        try:
            if token is not None:
                context.detach(token)
            if span is not None:
                span.end()
        except Exception as broken:  # noqa: BLE001
            emit(SpanNotEnded(of.job_id, broken))


def _attributes_of(of: Attempted) -> Attributes:
    found = _attributes("process", of.queue, of.task, of.server) | {
        names.MESSAGE_ID: str(of.job_id),
        names.CLIENT_ID: str(of.worker_id),
        names.ATTEMPT: of.attempt,
        names.MAX_ATTEMPTS: of.max_attempts,
        names.WORKER_VERSION: of.version,
    }
    if of.workflow_id is not None:
        found[names.CONVERSATION_ID] = str(of.workflow_id)
    return found


def _related(of: Attempted) -> tuple[context.Context, list[Link]]:
    """Returns the context in which the attempt runs, and the links of its span. The context has the baggage of the stored headers."""
    headers = headers_of(of.trace_context)
    stored = extract(headers, context.Context())
    creation = trace.get_current_span(stored).get_span_context()
    links: list[Link] = []
    if creation.is_valid:
        how = relation()
        if how != "parent":
            links.append(Link(creation))
        if how == "link":
            stored = trace.set_span_in_context(trace.INVALID_SPAN, stored)
    former = _former(of.job_id, headers)
    if former is not None and former.is_valid:
        links.append(Link(former, {names.ATTEMPT: "former"}))
    return stored, links


def headers_of(trace_context: str | None) -> dict[str, str]:
    """Returns the headers that a job's row contains. Returns none if the text is empty or cannot be read.

    The text can be anything, because it is not checked when it is stored.
    """
    if not trace_context:
        return {}
    try:
        said = json.loads(trace_context)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: value for name, value in said.items() if isinstance(value, str)}


def _former(job_id: int, headers: Mapping[str, str]) -> SpanContext | None:
    owner, _, traceparent = headers.get(FORMER_ATTEMPT, "").partition(" ")
    if owner != str(job_id):
        return None
    found = extract({"traceparent": traceparent}, context.Context())
    return trace.get_current_span(found).get_span_context()


def stored_attempt(span: trace.Span, job_id: int) -> str | None:
    """Returns the text by which the next attempt of the job finds the span of this one. None: the span is not valid."""
    found = span.get_span_context()
    if not found.is_valid:
        return None
    flags = int(found.trace_flags) & 0xFF
    return f"{job_id} 00-{found.trace_id:032x}-{found.span_id:016x}-{flags:02x}"


def mark_failed(span: trace.Span, error: BaseException, mask: Callable[[str], str] = str) -> None:
    """Marks the span as failed, and adds the error to it once, as ``span.record_exception`` does. ``mask`` masks secret values in its texts.

    Unlike that method, it also works for a user's exception whose ``__str__`` raises an error.
    """
    kind, words = name_of(error), mask(message(error))
    said = {
        "exception.type": kind,
        "exception.message": words,
        "exception.stacktrace": mask(trace_of(error) or ""),
        "exception.escaped": "False",
    }
    try:
        span.add_event("exception", said)
        span.set_attribute(names.ERROR_TYPE, kind)
        span.set_status(Status(StatusCode.ERROR, words))
    except Exception as broken:  # noqa: BLE001
        emit(SpanNotMarked(broken))
