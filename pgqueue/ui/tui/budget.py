"""How often the dashboard may ask the database. Does no I/O, and is told the time."""

from __future__ import annotations

EVERY = 2.0  # seconds between two looks at the database, at least
QUERIES_A_SECOND = 2.0  # on average; a page that needs more queries is made less often
SHARE = 0.05  # of the time for which the server may work for the dashboard
LONGEST = 30.0  # seconds between two looks at a page that the server makes slowly
DEBT = 60.0  # queries that people can ask for ahead of time, by opening many pages


class Budget:
    """Counts the queries that were sent, and forgets QUERIES_A_SECOND of them each second."""

    def __init__(self, now: float) -> None:
        self._debt, self._at, self._took = 0.0, now, 0.0

    def spend(self, queries: int, took: float, now: float) -> None:
        """Notes a page that was made with ``queries`` queries in ``took`` seconds, and is ready at the time ``now``."""
        self._debt = max(self._debt - (now - self._at) * QUERIES_A_SECOND, 0) + queries
        self._at, self._took = now, took

    @property
    def pause(self) -> float:
        """Returns the seconds until the page should be made again, if no person asks for a page before."""
        return max(EVERY, self._debt / QUERIES_A_SECOND, min(self._took / SHARE, LONGEST))

    @property
    def delay(self) -> float:
        """Returns the seconds for which even a person has to wait, because too many pages were opened in a short time."""
        return max((self._debt - DEBT) / QUERIES_A_SECOND, 0)
