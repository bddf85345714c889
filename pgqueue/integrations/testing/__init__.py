"""Tools for the tests of applications. They run on a real Postgres: in the test's own transaction, end to end, or for a handler alone.

The pytest plugin makes fixtures of them (``pgqueue.integrations.pytest_plugin``); with unittest and other runners, use them directly.
"""

from pgqueue.integrations.testing.cases import PgQueueTestCase
from pgqueue.integrations.testing.drained import Attempted, Drained
from pgqueue.integrations.testing.handler_job import JobInTest, handler_job
from pgqueue.integrations.testing.queue import QueueInTest, joined_queue
from pgqueue.integrations.testing.run import RunOfTests
from pgqueue.integrations.testing.worker_process import WorkerInTest, directed

__all__ = [
    "Attempted",
    "Drained",
    "JobInTest",
    "PgQueueTestCase",
    "QueueInTest",
    "RunOfTests",
    "WorkerInTest",
    "directed",
    "handler_job",
    "joined_queue",
]
