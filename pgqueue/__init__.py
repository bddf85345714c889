"""pgqueue: a job queue that lives in your Postgres."""

from pgqueue import errors
from pgqueue.app import App
from pgqueue.enqueue import Task
from pgqueue.errors import LeaseLostError, PgQueueError
from pgqueue.handle import JobHandle
from pgqueue.job import Job, NewJob
from pgqueue.outcome import Cancel, Retry, Snooze
from pgqueue.retry import RetryPolicy

__version__ = "0.1.0"

__all__ = [
    "App",
    "Cancel",
    "Job",
    "JobHandle",
    "LeaseLostError",
    "NewJob",
    "PgQueueError",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "Task",
    "errors",
]
