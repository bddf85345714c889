"""Observes calls that enqueue jobs: each call is a span, if the application has set up an SDK, and is measured, if metrics are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pgqueue.database.dsn import server_of
from pgqueue.model.new_job import Batch
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry import metered, tracing
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import EnqueueEnded
from pgqueue.text.values import name_of


class Sending:
    """A call that enqueues. ``batches``: its jobs, with the headers of the trace in which they are created."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.ids: Sequence[int] = ()

    def note(self, ids: Sequence[int]) -> None:
        """Called with the ids of all jobs, in order, when they are stored."""
        self.ids = ids


class _Traced(Sending):
    """``created``: the spans of the single jobs; none if the jobs share the context of ``span``."""

    def __init__(
        self,
        batches: list[Batch],
        span: tracing.Span,
        created: Sequence[tracing.Created],
        *,
        is_one: bool,
    ) -> None:
        super().__init__(batches)
        self._span, self._created, self._is_one = span, list(created), is_one

    def note(self, ids: Sequence[int]) -> None:
        super().note(ids)
        if self._is_one and ids:
            tracing.note_id(self._span, ids[0])
        if self._created:
            for one, job_id in zip(self._created, ids, strict=True):
                one.end(job_id)
            self._created = []

    def end(self) -> None:
        """Ends the spans of jobs that were not stored."""
        for one in self._created:
            one.end(None)


def queue_of(batch: Batch) -> str:
    return str(batch.options.get("queue", "default"))


def sending(batches: list[Batch], dsn: Callable[[], str] | None = None) -> AbstractContextManager[Sending]:
    """Returns the context to put around the statements that store these jobs. ``dsn``: of the app, if its own connection is used."""
    metered.begin_if_metered()
    is_traced, is_measured = tracing.is_traced(), has_subscribers(EnqueueEnded)
    if not is_traced and not is_measured:
        return nullcontext(Sending(with_headers(batches)))
    return _observed(batches, dsn, is_traced=is_traced)


@contextmanager
def _observed(batches: list[Batch], dsn: Callable[[], str] | None, *, is_traced: bool) -> Iterator[Sending]:
    queue, count = _common({queue_of(batch) for batch in batches}), sum(len(batch.args) for batch in batches)
    with _measured(queue, count) as stored:
        if is_traced:
            with _spans(batches, queue, count, None if dsn is None else server_of(dsn())) as traced:
                yield traced
            stored.extend(traced.ids)
        else:
            sent = Sending(with_headers(batches))
            yield sent
            stored.extend(sent.ids)


@contextmanager
def _measured(queue: str, count: int) -> Iterator[list[int]]:
    """Yields a list that takes the ids of the stored jobs."""
    begun, error_type, stored = monotonic(), "", list[int]()
    try:
        yield stored
    except BaseException as error:
        error_type = name_of(error)
        raise
    finally:
        if has_subscribers(EnqueueEnded):
            job_id = stored[0] if len(stored) == 1 else None
            emit(EnqueueEnded(queue, count, monotonic() - begun, error_type, job_id))


@contextmanager
def _spans(batches: list[Batch], queue: str, count: int, server: tracing.Server | None) -> Iterator[_Traced]:
    task = _common({batch.task for batch in batches})
    created: list[tracing.Created] = []
    if 1 < count <= tracing.CREATED:
        singles = [single for batch in batches for single in _singles(batch)]
        created = [tracing.create(queue_of(one), one.task, server) for one in singles]
        batches = [_with(one, made.headers) for one, made in zip(singles, created, strict=True)]
    with tracing.send_span(queue, task, None if count == 1 else count, server, created) as span:
        traced = _Traced(batches if created else with_headers(batches), span, created, is_one=count == 1)
        try:
            yield traced
        finally:
            traced.end()


@contextmanager
def sending_workflow(tasks: Sequence[str], dsn: Callable[[], str] | None = None) -> Iterator[None]:
    """Puts a span around the statement that stores a workflow. Its jobs are built in the block, so they get its context."""
    metered.begin_if_metered()
    if not tasks or not (tracing.is_traced() or has_subscribers(EnqueueEnded)):
        yield
        return
    with _measured("", len(tasks)):
        if tracing.is_traced():
            server = None if dsn is None else server_of(dsn())
            with tracing.send_span("", _common(set(tasks)), len(tasks), server):
                yield
        else:
            yield


def with_headers(batches: list[Batch]) -> list[Batch]:
    headers = tracing.carrier()
    return [_with(batch, headers) for batch in batches] if headers else batches


def _with(batch: Batch, headers: dict[str, str]) -> Batch:
    return batch._replace(options={**batch.options, "trace_context": headers})


def _singles(batch: Batch) -> Iterator[Batch]:
    requests = batch.options.get("idempotency_keys")
    for at, args in enumerate(batch.args):
        options = batch.options if requests is None else {**batch.options, "idempotency_keys": [requests[at]]}
        yield Batch(batch.task, [args], options, None if batch.keys is None else [batch.keys[at]])


def _common(names: set[str]) -> str:
    """Returns the name if there is only one; otherwise an empty text."""
    return next(iter(names)) if len(names) == 1 else ""
