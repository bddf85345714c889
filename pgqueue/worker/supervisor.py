"""``pgq work --processes N``: N workers, each a process of its own, kept alive and stopped together."""

from __future__ import annotations

import logging
import os
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

    A child that dies by a signal or by a bug is started again; one that ends by itself (drained, misconfigured) is not.
    """
    command = [sys.executable, "-m", "pgqueue", *_without_processes(sys.argv[1:]), "--processes", "1"]
    children: dict[subprocess.Popen[bytes], float] = {}
    stopping: list[float] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(time.monotonic())
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def start() -> None:
        child = subprocess.Popen(command, start_new_session=True, env={**os.environ})
        children[child] = time.monotonic()

    for _ in range(count):
        start()
    worst = 0
    while children:
        ended = [child for child in children if child.poll() is not None]
        for child in ended:
            begun = children.pop(child)
            code = child.returncode
            if stopping or code in range(2, 13) or code == 0:
                worst = max(worst, code if code >= 0 else 128 - code)
                continue
            log.error("a worker process (pid %d) died with %d and is started again", child.pid, code)
            time.sleep(max(0.0, SOON - (time.monotonic() - begun)))
            start()
        if stopping and time.monotonic() - stopping[0] > grace + LATER:
            for child in children:
                child.kill()
        if not ended:
            _wait_for_any(children)
    return worst


def _wait_for_any(children: dict[subprocess.Popen[bytes], float]) -> None:
    first = next(iter(children))
    try:
        first.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        pass


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
