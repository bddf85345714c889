"""Makes spans of a worker's own statements: claims (``receive``) and writes of outcomes (``ack``, ``settle``). They are off by default.

A span of this kind concerns many jobs, so it belongs to no trace of a job. PGQUEUE_TRACE_OPERATIONS=1 turns these spans on.
"""

from __future__ import annotations

import os
import time

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from pgqueue.telemetry import conventions as names
from pgqueue.telemetry.events import subscribe, unsubscribe
from pgqueue.telemetry.events.jobs import JobsClaimed, OutcomesWritten
from pgqueue.telemetry.tracing import Attributes, is_traced, tracer


def begin() -> None:
    """Makes these spans from now on, if the environment asks for them and the application has set up an SDK."""
    if os.environ.get("PGQUEUE_TRACE_OPERATIONS", "").strip().lower() not in ("1", "true", "yes", "on"):
        return
    if is_traced():
        unsubscribe(JobsClaimed, _claimed)  # another worker of this process can have begun already
        unsubscribe(OutcomesWritten, _written)
        subscribe(JobsClaimed, _claimed)
        subscribe(OutcomesWritten, _written)


def _claimed(fact: JobsClaimed) -> None:
    if fact.jobs:
        _span("receive", "receive", "", fact.jobs, fact.worker_id, fact.seconds)


def _written(fact: OutcomesWritten) -> None:
    if fact.seconds is None:
        return
    queues = {alike.queue for alike in fact.ended}
    jobs = sum(len(alike.ran) for alike in fact.ended)
    _span(
        fact.operation,
        "settle",
        next(iter(queues)) if len(queues) == 1 else "",
        jobs,
        fact.worker_id,
        fact.seconds,
    )


def _span(operation: str, kind: str, queue: str, jobs: int, worker_id: int, seconds: float) -> None:
    attributes: Attributes = {
        names.SYSTEM: names.OUR_SYSTEM,
        names.OPERATION: operation,
        names.OPERATION_TYPE: kind,
        names.CLIENT_ID: str(worker_id),
        names.BATCH_COUNT: jobs,
    }
    if queue:
        attributes[names.DESTINATION] = queue
    ended = time.time_ns()
    span = tracer.start_span(
        f"{operation} {queue}".strip(),
        Context(),
        SpanKind.CLIENT,
        attributes,
        start_time=ended - int(seconds * 1e9),
    )
    span.end(ended)
