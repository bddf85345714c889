"""What every benchmarked handler calls: it tells the measuring process when jobs start, through a pipe.

``BENCH_JOBS=n`` reports the first and the n-th start only, so that a drain measures the system and not the
probe; ``BENCH_JOBS=0`` reports every start.
"""

import os
import time

now = time.monotonic  # one clock for all processes of a host

_pipe = int(os.environ.get("BENCH_PIPE", "-1"))
_jobs = int(os.environ.get("BENCH_JOBS", "0"))
_started = 0


def job_started() -> None:
    global _started  # noqa: PLW0603
    _started += 1
    if _jobs == 0 or _started in {1, _jobs}:
        os.write(_pipe, f"{now()!r}\n".encode())
