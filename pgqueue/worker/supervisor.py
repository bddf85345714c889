"""``pgq work --processes N``: N workers, each a process of its own, kept alive and stopped together."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import time
from types import FrameType

LATER = 10.0  # seconds after the grace until a worker that hangs is killed
SOON = 1.0  # a worker that dies younger than this is not started again at once

log = logging.getLogger("pgqueue")


def supervise(count: int, *, grace: float) -> int:
    """Runs the same command line in ``count`` children; returns their highest exit code.

    A child that dies by a signal or a bug is started again; one that ends by itself (drained, misconfigured) is not.
    """
    return _Supervisor([*_without_processes(sys.argv[1:]), "--processes", "1"], grace).run(count)


class _Supervisor:
    def __init__(self, arguments: list[str], grace: float) -> None:
        self._command = [sys.executable, "-m", "pgqueue", *arguments]
        self._grace = grace
        self._children: dict[subprocess.Popen[bytes], float] = {}
        self._stopping: float | None = None
        self._worst = 0

    def run(self, count: int) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for _ in range(count):
            self._start()
        while self._children:
            for child in [child for child in self._children if child.poll() is not None]:
                self._ended(child)
            if self._stopping is not None and time.monotonic() - self._stopping > self._grace + LATER:
                for child in self._children:
                    child.kill()
            self._wait()
        return self._worst

    def _start(self) -> None:
        child = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603 - our own command line again
        self._children[child] = time.monotonic()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = self._stopping or time.monotonic()
        for child in self._children:
            child.send_signal(number)

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        age = time.monotonic() - self._children.pop(child)
        code = child.returncode
        if self._stopping is None and (code < 0 or code == 1):
            log.error("a worker process (pid %d) died with %d and is started again", child.pid, code)
            time.sleep(max(0.0, SOON - age))
            if self._stopping is None:  # a signal may have come meanwhile
                self._start()
        else:
            self._worst = max(self._worst, code if code >= 0 else 128 - code)

    def _wait(self) -> None:
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=0.2)
            return


def _without_processes(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--processes":
            skip = True
        elif not argument.startswith("--processes="):
            kept.append(argument)
    return kept
