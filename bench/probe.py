"""What every benchmarked handler calls: through a named pipe, it tells the measuring process when jobs start.

``BENCH_JOBS=n`` reports the first and the n-th start of each process only, so that a drain measures the system and not the
probe; ``BENCH_JOBS=0`` reports every start. A line is the monotonic time and, if the handler gave it, the job's number.
A negative number is a job that only makes load: it is not reported. ``BENCH_PIPE`` is the pipe's descriptor, for
direct children; ``BENCH_FIFO`` its path, for their children too.
"""

import os
import time
from functools import cache

now = time.monotonic  # one clock for all processes of a host

_jobs = int(os.environ.get("BENCH_JOBS", "0"))
_started = 0


def job_started(n: int | None = None) -> None:
    global _started  # noqa: PLW0603
    if n is not None and n < 0:
        return
    _started += 1
    report(_started, n)


def report(number: int, n: int | None = None) -> None:
    """Reports the ``number``-th start. Workers whose threads or processes count their starts together call it themselves."""
    if _jobs == 0 or number in {1, _jobs}:
        os.write(_pipe(), (f"{now()!r}\n" if n is None else f"{now()!r} {n}\n").encode())


@cache
def _pipe() -> int:
    return os.open(os.environ["BENCH_FIFO"], os.O_WRONLY)
