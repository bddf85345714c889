"""Makes pages, and keeps each for a moment, so that many tabs that look at one page cost the database one look."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from pgqueue.database.pools import Pools
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.reading.asked import Asked
from pgqueue.ui.reading.documents import as_json
from pgqueue.ui.reading.page import Page
from pgqueue.ui.reading.pages import PageRoute
from pgqueue.ui.reading.reader import Reader, reading

FRESH = 1.0  # seconds for which a page is not made again
MOST_KEPT = 200  # pages


@dataclass(frozen=True, slots=True)
class Look:
    """Which page somebody looks at: its route, the parts of its path that vary, and what stands behind the question mark."""

    route: PageRoute
    path: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]

    def asked(self) -> Asked:
        return Asked(dict(self.path), dict(self.query))


def look(route: PageRoute, path: Mapping[str, str], query: Mapping[str, str]) -> Look:
    return Look(route, tuple(sorted(path.items())), tuple(sorted(query.items())))


@dataclass(frozen=True, slots=True)
class Made:
    """A page with the time at which it was made. ``version`` differs if its content differs. ``queries``: what it has cost."""

    page: Page
    version: str
    at: float
    queries: int


class Pages:
    """The pages that were made last. Two requests for one page at the same time share one look at the database."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._made: OrderedDict[Look, Made] = OrderedDict()
        self._making: dict[Look, asyncio.Task[Made]] = {}

    async def get(self, what: Look, *, age: float = FRESH) -> Made:
        """Returns the page, which is at most ``age`` seconds old. Raises what its making raises."""
        made = self._made.get(what)
        if made is not None and monotonic() - made.at <= age:
            return made
        making = self._making.get(what)
        if making is None:
            making = self._making[what] = asyncio.create_task(self._make(what))
            making.add_done_callback(lambda _: self._making.pop(what, None))
        return await asyncio.shield(making)

    async def _make(self, what: Look) -> Made:
        async with reading(self._pools) as reader:
            return await self.make(what, reader)

    async def make(self, what: Look, reader: Reader) -> Made:
        """Makes the page with this reader, and keeps it."""
        before = reader.queries
        page = await what.route.make(reader, what.asked())
        made = Made(page, _version(page), monotonic(), reader.queries - before)
        self._made[what] = made
        self._made.move_to_end(what)
        while len(self._made) > MOST_KEPT:
            self._made.popitem(last=False)
        return made

    def forget(self) -> None:
        """Forgets all pages, because an action has changed what they show."""
        self._made.clear()


def _version(page: Page) -> str:
    return hashlib.sha256(as_json(page).encode("utf-8", "surrogatepass")).hexdigest()[:16]
