"""Decides how many jobs one claim may take. Does no I/O.

A claim must not take long, because a job that becomes due during the claim has to wait until the claim ends, even if the job is urgent.
"""

from __future__ import annotations

# The least and the greatest size of a claim, in jobs. A claim that took fewer jobs than SMALLEST_CLAIM does not change the size.
SMALLEST_CLAIM, LARGEST_CLAIM = 100, 1000
LONGEST_CLAIM = 0.025  # a claim should take at most this many seconds
LONGEST_CLAIM_BESIDE_URGENT = (
    0.003  # the same limit for the case that the claimer knows lanes of several priorities
)


class ClaimSize:
    """``jobs`` is the largest number of jobs that the next claim may take."""

    def __init__(self) -> None:
        self.jobs = SMALLEST_CLAIM

    def measure(self, claimed: int, took: float, *, has_urgent: bool) -> None:
        """Computes from the last claim how many jobs fit into the longest time of a claim. Moves ``jobs`` half the way to that number."""
        if claimed >= SMALLEST_CLAIM:
            longest = LONGEST_CLAIM_BESIDE_URGENT if has_urgent else LONGEST_CLAIM
            fitting = int(claimed * longest / took)
            self.jobs = max(SMALLEST_CLAIM, min((self.jobs + fitting) // 2, LARGEST_CLAIM))
