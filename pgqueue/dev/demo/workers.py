"""Starts, kills and ends the worker processes of the demo. None of them outlives the demo."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from pgqueue.errors import PgQueueError

# The lease and the heartbeat are short, so that the demo takes little time. The defaults are 30 and 5 seconds.
WORK = (
    "-m pgqueue work -A pgqueue.dev.demo.large_orders:app -Q demo-mail,demo-web,demo-books,demo-orders -c 8"
    " --lease 2 --heartbeat 0.5"
)


class Workers:
    """The ``pgq work`` processes of the demo, by pid. The end of the ``with`` block ends those that still run."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.log = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115  __exit__ closes it

    def start(self) -> int:
        process = subprocess.Popen(  # noqa: S603  the command is fixed here
            [sys.executable, *shlex.split(WORK)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.processes[process.pid] = process
        return process.pid

    def kill(self, pid: int) -> None:
        """Kills a worker by SIGKILL, so that it cannot release its jobs or end its lease."""
        self.processes[pid].kill()
        self.processes.pop(pid).wait()

    def check(self) -> None:
        """Raises PgQueueError if a worker ended by itself."""
        for process in self.processes.values():
            if (code := process.poll()) is not None:
                raise PgQueueError(
                    f"A worker of the demo ended by itself with exit code {code}.",
                    why=self.last_words(),
                    do=f"PGQUEUE_DSN=… python {WORK}",
                )

    def last_words(self) -> str:
        self.log.seek(0)
        return self.log.read()[-2000:].decode(errors="replace").strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Asks all workers to end. After three seconds, or at a second Ctrl-C, kills those that still run."""
        deadline = time.monotonic() + 3
        try:
            for process in self.processes.values():
                process.terminate()
            for process in self.processes.values():
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in self.processes.values():
                process.kill()
                process.wait()
            self.log.close()
