"""How many statements open pages may send. Does no I/O, and is told the time."""

from __future__ import annotations

QUERIES_A_SECOND = (
    1.9  # on average, so that it stays below 2; a page that needs more queries is made less often
)


class Budget:
    """Counts the queries that were sent, and forgets QUERIES_A_SECOND of them each second. ``debt``: how many were left at the last count."""

    def __init__(self, now: float) -> None:
        self.debt, self._at = 0.0, now

    def spend(self, queries: int, now: float) -> None:
        self.debt = max(self.debt - (now - self._at) * QUERIES_A_SECOND, 0) + queries
        self._at = now
