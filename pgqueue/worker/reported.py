"""What a worker of this process reports while it works: lines about completed jobs, kept lines of handlers, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from pgqueue.app.app import App
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.jobs import JobCompleted
from pgqueue.telemetry.log import endings_of
from pgqueue.worker.callbacks import called_back
from pgqueue.worker.job_lines import kept_lines


@contextmanager
def reported(app: App, is_mine: Callable[[int], bool], *, log_jobs: bool) -> Iterator[None]:
    """``is_mine``: whether a worker's id is the id of this worker. ``log_jobs``: whether each completed job gets a line."""
    endings = subscribed(JobCompleted, endings_of(is_mine)) if log_jobs else nullcontext()
    with endings, kept_lines(app), called_back(app, is_mine):
        yield
