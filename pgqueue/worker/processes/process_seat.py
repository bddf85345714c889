"""The state that a supervisor keeps for each of its worker processes, and the meanings of their exit codes."""

from __future__ import annotations

import asyncio
import signal

from pgqueue.worker.exit_codes import STOPPED, UNFINISHED
from pgqueue.worker.processes.channels import LineToWorker
from pgqueue.worker.spawning import Spawned


class ProcessSeat:
    """The state of one worker process, as its supervisor knows it. If the process dies, a new process takes over the same ProcessSeat.

    A ProcessSeat has nothing to do with the seats of limits.
    """

    def __init__(self) -> None:
        self.child: Spawned | None = None
        self.line: LineToWorker | None = None
        self.at_work = asyncio.Event()
        self.at_work_since = 0.0  # by the loop's clock
        self.has_worked = False
        self.replacing = False
        self.drained = False
        self.worker_id: int | None = None
        # How many seconds ago the process sent its last message. Time in which the supervisor itself was suspended does not count.
        self.silence = 0.0
        self.silent_parts: tuple[str, ...] = ()  # what its last message named

    def clear(self) -> None:
        """Prepares this object for the next worker."""
        self.at_work.clear()
        self.child, self.worker_id = None, None
        self.replacing = self.drained = False
        self.silent_parts = ()

    def stop(self, number: int) -> None:
        """Asks the process to stop: by a message on its line, and by a signal, because a starting process does not read its line yet."""
        if self.child is not None and self.line is not None:
            self.line.tell_to_stop(number)
            self.child.send(signal.SIGTERM)

    def tell(self, workers: set[int] | None) -> None:
        """Sends the ids of workers that have jobs to stop. None stands for all workers."""
        if self.line is not None:
            self.line.tell(workers)


def is_clean(code: int | None) -> bool:
    """Returns whether this is a normal exit code of a worker that was asked to stop or that has drained."""
    return code in (STOPPED, UNFINISHED, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def is_refusal(code: int | None) -> bool:
    """Returns whether this is the exit code of a command that failed before the worker began: wrong usage, no database, for example.

    The exit codes are listed in pgqueue/ui/cli/entry.py.
    """
    return code is not None and 1 < code < UNFINISHED


def exit_code(code: int | None) -> int:
    """Returns the exit code as a shell reports it. If a signal ended the process, this is 128 plus the number of the signal."""
    return 1 if code is None else code if code >= 0 else 128 - code
