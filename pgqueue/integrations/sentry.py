"""Reports to Sentry: jobs that fail for good, and spans of enqueues and attempts, with the names of Sentry's page about queues.

::

    sentry_sdk.init(dsn=..., traces_sample_rate=1.0)
    app = App()
    use_sentry(app)

A retried attempt is no error for Sentry, unless ``every_attempt`` is set. Arguments, results and keys of jobs are not sent. But Sentry itself
sends the local variables of your functions: secret values of the job (``Redact``) are masked in them, and
``sentry_sdk.init(include_local_variables=False)`` leaves them out.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from pgqueue.app.app import App
from pgqueue.errors import PackageMissingError
from pgqueue.model.hooks import Call
from pgqueue.model.job import Job
from pgqueue.model.outcome import Cancel, RateLimited, Snooze
from pgqueue.model.suspension import is_suspension
from pgqueue.telemetry.events import subscribe
from pgqueue.telemetry.events.jobs import EnqueueEnded, JobDead, JobRetried, Run
from pgqueue.telemetry.job_context import running
from pgqueue.telemetry.tracing import add_source

try:
    import sentry_sdk
    from sentry_sdk.consts import OP
    from sentry_sdk.scope import Scope, use_isolation_scope, use_scope
except ImportError as error:
    raise PackageMissingError(
        "Sentry cannot be used.",
        why=f"the package sentry-sdk is not installed ({error})",
        do="pip install 'pgqueue-jobs[sentry]'",
    ) from None

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

MOST = 100  # exceptions that are kept until it is known whether their jobs run again
Failed = tuple[
    BaseException, Scope, Scope
]  # an exception, and the two scopes of Sentry in which it was raised
NO_FAILURES = (Snooze, RateLimited, Cancel)


def use_sentry(app: App, *, every_attempt: bool = False) -> None:
    """Reports the app's jobs to Sentry. Call this once, after ``sentry_sdk.init``, in the module of the app, so that workers call it, too.

    ``every_attempt``: also report failed attempts after which the job runs again.
    """
    reporter = _Reporter(every_attempt=every_attempt)
    app.middleware(reporter.around)
    subscribe(JobDead, reporter.dead)
    subscribe(JobRetried, reporter.retried)
    subscribe(EnqueueEnded, _published)
    add_source(_headers)


class _Reporter:
    """Keeps the exception of each failed attempt until the outcome of the attempt is known."""

    def __init__(self, *, every_attempt: bool) -> None:
        self._every_attempt = every_attempt
        self._failed: OrderedDict[int, Failed] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def around(self, call: Call) -> Iterator[None]:
        job = call.job
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()
            _describe(scope, job.id, job.task, job.queue, job.attempt, job.max_attempts)
            if (here := running.get()) is not None:
                scope.add_event_processor(partial(_masked_event, here.mask))
            transaction = sentry_sdk.continue_trace(
                dict(call.headers),
                op=OP.QUEUE_PROCESS,
                name=job.task,
                source="task",
                origin="auto.queue.pgqueue",
            )
            with sentry_sdk.start_transaction(transaction) as span:
                for name, value in _data(job).items():
                    span.set_data(name, value)
                try:
                    yield
                except BaseException as error:
                    if not is_suspension(error) and not issubclass(type(error), NO_FAILURES):
                        span.set_status("internal_error")
                        self._note(job.id, error, scope)
                    raise

    def _note(self, job_id: int, error: BaseException, scope: Scope) -> None:
        if self._every_attempt:
            sentry_sdk.capture_exception(error)
            return
        with self._lock:
            self._failed[job_id] = error, scope, sentry_sdk.get_current_scope()
            while len(self._failed) > MOST:
                self._failed.popitem(last=False)

    def _taken(self, run: Run) -> Failed | None:
        with self._lock:
            return self._failed.pop(run.job_id, None)

    def retried(self, fact: JobRetried) -> None:
        self._taken(fact.run)

    def dead(self, fact: JobDead) -> None:
        """Reports a job that failed for good. The exception is not known if it was raised in a child process, or if the process died."""
        found = self._taken(fact.run)
        if found is not None:
            error, scope, current = found
            with use_isolation_scope(scope), use_scope(current):
                sentry_sdk.capture_exception(error)
        elif not self._every_attempt or fact.reason == "crash_loop":
            run = fact.run
            with sentry_sdk.isolation_scope() as scope:
                _describe(scope, run.job_id, run.task, run.queue, run.attempt, run.max_attempts)
                scope.set_tag("pgqueue.reason", fact.reason)
                sentry_sdk.capture_message(f"{run.task}: {fact.error}", level="error")


def _describe(scope: Scope, job_id: int, task: str, queue: str, attempt: int, max_attempts: int) -> None:
    scope.set_transaction_name(task)
    scope.set_tag("pgqueue.task", task)
    scope.set_tag("pgqueue.queue", queue)
    job = {
        "id": job_id,
        "task": task,
        "queue": queue,
        "attempt": attempt,
        "max_attempts": max_attempts,
        "show": f"pgq jobs show {job_id}",
    }
    scope.set_context("pgqueue job", job)


def _masked_event(mask: Callable[[str], str], event: Event, _hint: Hint) -> Event:
    """Masks the secret values of the job in each text of an event: in messages, local variables and names of spans."""
    masked: Event = _masked(event, mask)
    return masked


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(inner, mask) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, mask) for inner in value]
    return value


def _data(job: Job) -> dict[str, Any]:
    waited = (datetime.now(UTC) - job.run_at).total_seconds()
    return {
        "messaging.system": "pgqueue",
        "messaging.message.id": str(job.id),
        "messaging.destination.name": job.queue,
        "messaging.message.body.size": len(json.dumps(job.args)),
        "messaging.message.receive.latency": max(round(1000 * waited), 0),
        "messaging.message.retry.count": job.attempt - 1,
    }


def _headers() -> dict[str, str]:
    """Returns the headers that lead Sentry from the attempt to the code that enqueued the job."""
    if not sentry_sdk.is_initialized():
        return {}
    found = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
    return {name: value for name, value in found.items() if value}


def _published(fact: EnqueueEnded) -> None:
    """Adds a span for an enqueue that has just ended in this context."""
    parent = sentry_sdk.get_current_span()
    if parent is None:
        return
    ended = datetime.now(UTC)
    span = parent.start_child(
        op=OP.QUEUE_PUBLISH, name=fact.queue or "several queues", origin="auto.queue.pgqueue",
        start_timestamp=ended - timedelta(seconds=fact.seconds),
    )  # fmt: skip
    span.set_data("messaging.system", "pgqueue")
    if fact.queue:
        span.set_data("messaging.destination.name", fact.queue)
    if fact.job_id is not None:
        span.set_data("messaging.message.id", str(fact.job_id))
    if fact.jobs > 1:
        span.set_data("messaging.batch.message_count", fact.jobs)
    if fact.error:
        span.set_status("internal_error")
    span.finish(end_timestamp=ended)
