"""Decides how many jobs one claim is allowed to take. This module does no I/O.

A claim must not take long, because a job that becomes due during the claim has to wait until the claim ends, even if the job is urgent.
"""

from __future__ import annotations

# ``ClaimSize.jobs`` is always between these two numbers. A claim that took fewer jobs than SMALLEST_CLAIM does not change it.
SMALLEST_CLAIM, LARGEST_CLAIM = 100, 1000
LONGEST_CLAIM = 0.025  # a claim should take at most this many seconds
LONGEST_CLAIM_BESIDE_URGENT = (
    0.003  # this limit is used instead of LONGEST_CLAIM if the claimer knows lanes of several priorities
)


class ClaimSize:
    """``jobs`` is the largest number of jobs that the next claim is allowed to take."""

    def __init__(self) -> None:
        self.jobs = SMALLEST_CLAIM

    def measure(self, claimed: int, took: float, *, has_urgent: bool) -> None:
        """Computes, from the duration of the last claim, how many jobs a claim can take within its time limit.

        Moves ``jobs`` half the way to that number.
        """
        if claimed >= SMALLEST_CLAIM:
            longest = LONGEST_CLAIM_BESIDE_URGENT if has_urgent else LONGEST_CLAIM
            fitting = int(claimed * longest / took)
            self.jobs = max(SMALLEST_CLAIM, min((self.jobs + fitting) // 2, LARGEST_CLAIM))
