"""Has a worker process replaced when it has run a given number of jobs (--max-jobs), or uses too much memory (--max-rss).

This helps if a handler or a library leaks memory.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from pgqueue.config import WorkerSettings
from pgqueue.text.counted import count

EVERY = 2.0  # seconds between two checks of the memory
STATM = Path("/proc/self/statm")


def rss() -> int:
    """Returns how many bytes of memory this process occupies, without its children. Without /proc, returns the highest number so far."""
    try:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class Recycling:
    """Calls ``reached`` once, when the process has reached a limit, with a text that says which limit it is."""

    def __init__(self, settings: WorkerSettings, reached: Callable[[str], object]) -> None:
        self._max_jobs, self._max_rss, self._reached = settings.max_jobs, settings.max_rss, reached
        self._jobs = 0
        self._over = asyncio.Event()
        self._why = ""

    def count(self) -> None:
        """Called after each job."""
        self._jobs += 1
        if self._jobs == self._max_jobs:
            self._exceed(f"has run {count(self._jobs, 'job')} (--max-jobs)")

    async def run(self) -> None:
        while not self._over.is_set():
            if self._max_rss is not None and (used := rss()) > self._max_rss:
                self._exceed(
                    f"uses {used >> 20} MB of memory, more than {self._max_rss >> 20} MB (--max-rss)"
                )
            try:
                async with asyncio.timeout(EVERY if self._max_rss is not None else None):
                    await self._over.wait()
            except TimeoutError:
                continue
        self._reached(self._why)

    def _exceed(self, why: str) -> None:
        if not self._over.is_set():
            self._why = why
            self._over.set()
