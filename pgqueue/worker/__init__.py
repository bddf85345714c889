"""The worker: claimer, runner, settler, and what keeps them alive."""

from pgqueue.worker.worker import Worker

__all__ = ["Worker"]
