"""Decides which jobs a worker claims although no slot is free: a few jobs that are more urgent than the jobs in the slots. Does no I/O.

Even if short jobs fill the worker, the claimer scans the more urgent lanes every few milliseconds. So the claim of an urgent job does not
wait until other jobs are settled. An urgent job also starts before less urgent jobs that were claimed earlier and have not started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgqueue.database.statements.claiming import Lane
from pgqueue.worker.attempt import Attempt

URGENT_LOOK = 0.004  # seconds between two searches for urgent jobs
URGENT_JOBS = 20  # between two ordinary claims, these searches claim at most this many jobs


class UrgentAllowance:
    """``left``: how many urgent jobs can still be claimed before the next ordinary claim."""

    def __init__(self) -> None:
        self.left = URGENT_JOBS
        self._filling_priority = 0  # the priority of the least urgent job of the last ordinary claim

    def renew(self) -> None:
        """Called when an ordinary claim begins."""
        self.left = URGENT_JOBS

    def note_ordinary_claim(self, attempts: Sequence[Attempt]) -> None:
        """Notes the attempts of an ordinary claim. The last attempt is the least urgent."""
        if attempts:
            self._filling_priority = attempts[-1].priority

    def spend(self, jobs: int) -> None:
        self.left -= jobs

    def more_urgent(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Returns those of ``lanes`` that are more urgent than the jobs that fill the worker; no lane if the allowance is used up."""
        return [lane for lane in lanes if lane[1] < self._filling_priority] if self.left > 0 else []
