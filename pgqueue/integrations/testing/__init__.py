"""Tools for the tests of applications. They run on a real Postgres: in the test's own transaction, end to end, or for a handler alone.

The pytest plugin makes fixtures of them (``pgqueue.integrations.pytest_plugin``); with unittest and other runners, use them directly.
"""

from pgqueue.integrations.testing.drained import Attempted, Drained
from pgqueue.integrations.testing.queue import QueueInTest, joined_queue

__all__ = ["Attempted", "Drained", "QueueInTest", "joined_queue"]
