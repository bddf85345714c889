"""Runs the worker processes of a system, and reads the starts of jobs that their handlers report (probe.py)."""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench.cpu import tree
from bench.peers import Peer

PATIENCE = 180.0  # a measurement fails if no start is reported for this many seconds


class WorkerFailedError(RuntimeError):
    pass


class Start(NamedTuple):
    at: float
    job: int | None  # the number of the job, if the system's handler reports it


class Worker:
    """Runs ``count`` processes of the same command until the ``with`` block ends. Passes ``jobs`` to probe.py as ``BENCH_JOBS``."""

    def __init__(
        self, peer: Peer, dsn: str, jobs: int = 0, command: list[str] | None = None, count: int = 1
    ) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.folder = tempfile.TemporaryDirectory(prefix="pgqueue-bench-")
        fifo = Path(self.folder.name) / "starts"
        os.mkfifo(fifo)
        self.pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        theirs = os.open(fifo, os.O_WRONLY)
        environment = {
            "BENCH_DSN": dsn,
            "PGQUEUE_DSN": dsn,
            "BENCH_PIPE": str(theirs),
            "BENCH_FIFO": str(fifo),
            "BENCH_JOBS": str(jobs),
        }
        self.processes = [
            subprocess.Popen(
                command or peer.WORKER,
                env=os.environ | environment,
                pass_fds=[theirs],
                stdout=self.log,
                stderr=self.log,
            )
            for _ in range(count)
        ]
        self.process = self.processes[0]
        os.close(theirs)  # so that the pipe ends when all workers have ended
        self.unread = b""

    def next_start(self) -> float:
        """Waits for the next reported start of a job, and returns its monotonic time."""
        return self.next_started().at

    def next_started(self) -> Start:
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.pipe], [], [], max(0.0, deadline - time.monotonic()))
            news = os.read(self.pipe, 65536) if ready else b""
            if not news:
                raise WorkerFailedError(f"{self.process.args} started no further job\n{self.output()}")
            self.unread += news
        line, _, self.unread = self.unread.partition(b"\n")
        at, _, job = line.partition(b" ")
        return Start(float(at), int(job) if job else None)

    def leaders(self) -> list[int]:
        return [process.pid for process in self.processes]

    def pids(self) -> list[int]:
        """Returns the pids of the processes and of their descendants."""
        return [pid for leader in self.leaders() for pid in tree(leader)]

    def output(self) -> str:
        return self.all_output()[-4000:]

    def all_output(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + 5
        for process in self.processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                for pid in reversed(tree(process.pid)):
                    with contextlib.suppress(ProcessLookupError):  # the process has just ended
                        os.kill(pid, 9)
                process.wait()
        os.close(self.pipe)
        self.log.close()
        self.folder.cleanup()
