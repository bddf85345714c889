"""Which jobs a worker claims although it has no room: a few that are more urgent than the jobs that fill the worker. Pure.

While short jobs fill all room, the claimer still looks into the more urgent lanes every few milliseconds. So an urgent job waits
neither for a settle that makes room nor behind the jobs that were claimed before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgqueue.database.statements.claiming import Lane
from pgqueue.worker.attempt import Attempt

URGENT_LOOK = 0.004  # seconds between two looks for urgent jobs
URGENT_JOBS = 20  # jobs that these looks may take between two ordinary claims


class UrgentAllowance:
    """``left``: how many urgent jobs may still be claimed before the next ordinary claim."""

    def __init__(self) -> None:
        self.left = URGENT_JOBS
        self._filling_priority = 0  # of the least urgent job of the last ordinary claim

    def renew(self) -> None:
        """Called when an ordinary claim begins."""
        self.left = URGENT_JOBS

    def note_ordinary_claim(self, attempts: Sequence[Attempt]) -> None:
        """Notes what an ordinary claim took: ``attempts``, with the least urgent one at the end."""
        if attempts:
            self._filling_priority = attempts[-1].priority

    def spend(self, jobs: int) -> None:
        self.left -= jobs

    def more_urgent(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Those of ``lanes`` whose jobs may pass the jobs that fill the worker."""
        return [lane for lane in lanes if lane[1] < self._filling_priority] if self.left > 0 else []
