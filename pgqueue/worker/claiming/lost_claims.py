"""Finds jobs of a claim whose answer was lost, or that reached the server late.

Those jobs are this worker's, and are not rescued while it lives.
"""

from __future__ import annotations

from typing import Any

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.runtime.clock import monotonic

DOUBT = 5.0  # seconds after its time-out in which a claim whose answer was lost may still be committed
EVERY = 60.0  # seconds between two looks for claims that come even later


class LostClaims:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._doubtful_until, self.next_look = 0.0, monotonic() + EVERY

    def doubt(self) -> None:
        """Notes that a claim got no answer, so that a look is due soon and often."""
        self._doubtful_until = monotonic() + self._link.limit + DOUBT

    @property
    def is_due(self) -> bool:
        now = monotonic()
        return now < self._doubtful_until or now >= self.next_look

    async def find(self, worker_id: int, known: list[int]) -> list[Any]:
        """The rows of a claim, of running jobs of this worker other than ``known``."""
        self.next_look = monotonic() + EVERY
        ids = statements.choose_held(worker_id, known)
        others = await self._link.run(ids)
        if not others:
            return []
        return await sift_jobs(
            self._link.run,
            statements.held(worker_id, known),
            ids,
            lambda part: statements.held(worker_id, [*known, *(set(others) - set(part))]),
            worker_id,
        )
