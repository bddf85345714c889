"""How many jobs one claim may take: few enough that an urgent job does not wait long for the end of the claim. Pure."""

from __future__ import annotations

# Bounds of the size, in jobs. If a claim took fewer jobs than the smallest size, it is not measured.
SMALLEST_CLAIM, LARGEST_CLAIM = 100, 1000
LONGEST_CLAIM = 0.025  # seconds
LONGEST_CLAIM_BESIDE_URGENT = 0.003  # seconds, where jobs of several priorities are waiting


class ClaimSize:
    """``jobs``: what the next claim may take at most."""

    def __init__(self) -> None:
        self.jobs = SMALLEST_CLAIM

    def measure(self, claimed: int, took: float, *, has_urgent: bool) -> None:
        """Moves ``jobs`` half the way to the number that would have fitted into the time that a claim may last."""
        if claimed >= SMALLEST_CLAIM:
            longest = LONGEST_CLAIM_BESIDE_URGENT if has_urgent else LONGEST_CLAIM
            fitting = int(claimed * longest / took)
            self.jobs = max(SMALLEST_CLAIM, min((self.jobs + fitting) // 2, LARGEST_CLAIM))
