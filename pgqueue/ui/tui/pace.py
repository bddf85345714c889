"""How often the dashboard may ask the database. Does no I/O, and is told the time."""

from __future__ import annotations

from pgqueue.ui.reading.budget import QUERIES_A_SECOND, Budget

EVERY = 2.0  # seconds between two looks at the database, at least
SHARE = 0.05  # of the time for which the server may work for the dashboard
LONGEST = 30.0  # seconds between two looks at a page that the server makes slowly
DEBT = 60.0  # queries that people can ask for ahead of time, by opening many pages


class Pace:
    def __init__(self, now: float) -> None:
        self._budget, self._took = Budget(now), 0.0

    def made(self, queries: int, took: float, now: float) -> None:
        """Notes a page that was made with ``queries`` queries in ``took`` seconds, and is ready at the time ``now``."""
        self._budget.spend(queries, now)
        self._took = took

    @property
    def pause(self) -> float:
        """Returns the seconds until the page should be made again, if no person asks for a page before."""
        return max(EVERY, self._budget.debt / QUERIES_A_SECOND, min(self._took / SHARE, LONGEST))

    @property
    def delay(self) -> float:
        """Returns the seconds for which even a person has to wait, because too many pages were opened in a short time."""
        return max((self._budget.debt - DEBT) / QUERIES_A_SECOND, 0)
