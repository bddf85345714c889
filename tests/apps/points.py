"""Points at which a handler stands still, so that a test can kill its process there.

This happens only when a job comes to its point for the first time. If each job of a worker stands at another point, one kill hits all points.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pgqueue import Job
from tests.apps.step_functions import NOTES

AT_MOST = 120.0  # seconds; the test has failed long before


def stand_at(job: Job, point: str, here: str) -> None:
    if comes_first(job, point, here):
        time.sleep(AT_MOST)


async def astand_at(job: Job, point: str, here: str) -> None:
    if comes_first(job, point, here):
        await asyncio.sleep(AT_MOST)


def comes_first(job: Job, point: str, here: str) -> bool:
    mark = Path(os.environ[NOTES]).parent / f"point-{job.id}"
    if point != here or mark.exists():
        return False
    mark.write_text(point)
    return True


def reached(path: Path) -> list[str]:
    """Returns the points to which jobs have come. ``path``: the file with the notes of the handlers."""
    return [file.read_text() for file in path.parent.glob("point-*")]
