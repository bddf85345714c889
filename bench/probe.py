"""Each measured handler calls this module, which reports the start of its job to the measuring process through a named pipe.

``BENCH_JOBS=n`` reports only the first and the n-th start of each process, so that reports cost the measured process hardly any time.
``BENCH_JOBS=0`` reports every start. A report is a line with the monotonic time and, if the handler passes it, the number of the job. Jobs
with a negative number only make load, and their starts are not reported. ``BENCH_PIPE`` is a descriptor of the pipe, which only direct
children inherit. ``BENCH_FIFO`` is the path of the pipe, by which all descendants can open it.
"""

import os
import time
from functools import cache

now = time.monotonic  # all processes of a host have the same monotonic clock

_jobs = int(os.environ.get("BENCH_JOBS", "0"))
_started = 0


def job_started(n: int | None = None) -> None:
    global _started  # noqa: PLW0603
    if n is not None and n < 0:
        return
    _started += 1
    report(_started, n)


def report(number: int, n: int | None = None) -> None:
    """Reports the ``number``-th start. ``n`` is the number of its job, if known.

    If a system runs its handler on several threads or processes, the handler counts the starts itself and calls this function.
    """
    if _jobs == 0 or number in {1, _jobs}:
        os.write(_pipe(), (f"{now()!r}\n" if n is None else f"{now()!r} {n}\n").encode())


@cache
def _pipe() -> int:
    return os.open(os.environ["BENCH_FIFO"], os.O_WRONLY)
