"""Observes calls that enqueue jobs: each call is a span, if the application has set up an SDK, and is measured, if metrics are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pgqueue.model.new_job import Batch
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry import metrics
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import EnqueueEnded
from pgqueue.telemetry.tracing import enqueue_span, is_traced
from pgqueue.text.values import name_of


def queue_of(batch: Batch) -> str:
    return str(batch.options.get("queue", "default"))


def span(batches: list[Batch]) -> AbstractContextManager[None]:
    """Returns the context to put around the statements that store these jobs."""
    metrics.begin_if_metered()
    traced, measured = is_traced(), has_subscribers(EnqueueEnded)
    if not (traced or measured):
        return nullcontext()
    queues = {queue_of(batch) for batch in batches}
    return _observed(
        batches[0].task,
        queues.pop() if len(queues) == 1 else "",
        sum(len(batch.args) for batch in batches),
        traced=traced,
    )


def workflow_span(tasks: list[str]) -> AbstractContextManager[None]:
    metrics.begin_if_metered()
    traced, measured = is_traced(), has_subscribers(EnqueueEnded)
    if not tasks or not (traced or measured):
        return nullcontext()
    return _observed(tasks[0], "", len(tasks), traced=traced)


@contextmanager
def _observed(task: str, queue: str, count: int, *, traced: bool) -> Iterator[None]:
    begun, error_type = monotonic(), ""
    try:
        with enqueue_span(task, count) if traced else nullcontext():
            yield
    except BaseException as error:
        error_type = name_of(error)
        raise
    finally:
        emit(EnqueueEnded(queue, count, monotonic() - begun, error_type))
