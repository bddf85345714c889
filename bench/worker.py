"""One worker process of any system, and the starts of jobs that its probe reports."""

import os
import select
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from bench.peers import Peer

PATIENCE = 180.0  # seconds without any news from a worker


class WorkerFailedError(RuntimeError):
    pass


class Worker:
    """Runs while the ``with`` block lasts; see ``bench.probe`` for what ``jobs`` means."""

    def __init__(self, peer: Peer, dsn: str, jobs: int = 0, command: list[str] | None = None) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.pipe, theirs = os.pipe()
        environment = {
            "BENCH_DSN": dsn,
            "PGQUEUE_DSN": dsn,
            "BENCH_PIPE": str(theirs),
            "BENCH_JOBS": str(jobs),
        }
        self.process = subprocess.Popen(
            command or peer.WORKER,
            env=os.environ | environment,
            pass_fds=[theirs],
            stdout=self.log,
            stderr=self.log,
        )
        os.close(theirs)
        self.unread = b""

    def next_start(self) -> float:
        """Wait for the next reported start of a job and give its monotonic time."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.pipe], [], [], max(0.0, deadline - time.monotonic()))
            news = os.read(self.pipe, 65536) if ready else b""
            if not news:
                raise WorkerFailedError(f"{self.process.args} started no further job\n{self.output()}")
            self.unread += news
        line, _, self.unread = self.unread.partition(b"\n")
        return float(line)

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
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.pipe)
        self.log.close()
