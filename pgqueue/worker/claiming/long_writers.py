"""Transactions that write jobs for longer than the cursors of the lanes lag: when they end, they have left jobs behind them."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.worker.claiming.lanes import LAG

WATCH = LAG / 2  # seconds between two looks at who writes jobs


class LongWriters:
    def __init__(self, link: Link) -> None:
        self._link = link
        self.ages: dict[str, tuple[float, float]] = {}  # when they began, and how long ago that was

    async def ended(self) -> float | None:
        """When the first of those began that have ended since the last look; None: none has."""
        ages: dict[str, tuple[float, float]] = {}
        for name, began, now in await self._link.run(statements.open_writers()):
            first, _ = self.ages.get(name, (now - WATCH if began is None else began, 0.0))
            ages[name] = first, now - first
        ended = [first for name, (first, age) in self.ages.items() if name not in ages and age > WATCH]
        self.ages = ages
        return min(ended, default=None)
