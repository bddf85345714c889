"""Decides how many jobs one claim may take. An urgent job can wait for the end of a claim, so a claim must not take long. Does no I/O."""

from __future__ import annotations

# The least and the greatest size of a claim, in jobs. A claim that took fewer jobs than the smallest size does not change the size.
SMALLEST_CLAIM, LARGEST_CLAIM = 100, 1000
LONGEST_CLAIM = 0.025  # seconds
LONGEST_CLAIM_BESIDE_URGENT = (
    0.003  # seconds; this counts instead of LONGEST_CLAIM if jobs of several priorities are due
)


class ClaimSize:
    """``jobs``: how many jobs the next claim may take at most."""

    def __init__(self) -> None:
        self.jobs = SMALLEST_CLAIM

    def measure(self, claimed: int, took: float, *, has_urgent: bool) -> None:
        """Computes how many jobs a claim could have taken in its longest time, and moves ``jobs`` half the way to that number."""
        if claimed >= SMALLEST_CLAIM:
            longest = LONGEST_CLAIM_BESIDE_URGENT if has_urgent else LONGEST_CLAIM
            fitting = int(claimed * longest / took)
            self.jobs = max(SMALLEST_CLAIM, min((self.jobs + fitting) // 2, LARGEST_CLAIM))
