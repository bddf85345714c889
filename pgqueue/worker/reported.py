"""What a worker of this process reports while it works: lines about completed jobs, kept lines of handlers, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.jobs import JobCompleted
from pgqueue.telemetry.log import endings_of
from pgqueue.worker.callbacks import called_back
from pgqueue.worker.job_lines import kept_lines, usual_level


@contextmanager
def reported(app: App, is_mine: Callable[[int], bool], settings: WorkerSettings) -> Iterator[None]:
    """``is_mine``: whether a worker's id is the id of this worker."""
    endings = subscribed(JobCompleted, endings_of(is_mine)) if settings.log_jobs else nullcontext()
    lines = kept_lines(app, usual_level(keep_logs=settings.keep_logs), is_mine)
    with endings, lines, called_back(app, is_mine):
        yield
