"""The seat of one worker process under a supervisor, and what the exit code of the process means."""

from __future__ import annotations

import asyncio
import signal

from pgqueue.worker.exit_codes import STOPPED, UNFINISHED
from pgqueue.worker.processes.channels import LineToWorker
from pgqueue.worker.spawning import Spawned


class ProcessSeat:
    """Keeps what is known of one worker process. If the process dies, another one takes the seat."""

    def __init__(self) -> None:
        self.child: Spawned | None = None
        self.line: LineToWorker | None = None
        self.at_work = asyncio.Event()
        self.at_work_since = 0.0  # by the loop's clock
        self.has_worked = False
        self.replacing = False
        self.drained = False
        self.worker_id: int | None = None
        self.silence = 0.0  # seconds since its last word, counted only while the supervisor ran

    def clear(self) -> None:
        """Prepares the seat for the next worker."""
        self.at_work.clear()
        self.child, self.worker_id = None, None
        self.replacing = self.drained = False

    def stop(self, number: int) -> None:
        """Has the process stop, by a word over the line, and by a signal too, because it may not listen yet."""
        if self.child is not None and self.line is not None:
            self.line.tell_to_stop(number)
            self.child.send(signal.SIGTERM)

    def tell(self, workers: set[int] | None) -> None:
        """Says that jobs of these workers (None: of any) were asked to stop."""
        if self.line is not None:
            self.line.tell(workers)


def is_clean(code: int | None) -> bool:
    """Whether a worker that was asked to end, or that has drained, may end with this exit code."""
    return code in (STOPPED, UNFINISHED, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def is_refusal(code: int | None) -> bool:
    """Whether the command ended before it began to work: wrong usage, no database, no schema, no such app … (see pgqueue.ui.cli)."""
    return code is not None and 1 < code < UNFINISHED


def exit_code(code: int | None) -> int:
    """The exit code as a shell tells it."""
    return 1 if code is None else code if code >= 0 else 128 - code
