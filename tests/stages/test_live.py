"""How often the server looks at open pages: all tabs together cost the database a bounded number of statements."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

from psycopg import AsyncConnection

from pgqueue.ui.reading.budget import QUERIES_A_SECOND
from pgqueue.ui.reading.reader import Reader
from pgqueue.ui.web.live import BURST, Live

SECONDS, QUERIES = 100.0, 3


class CountedPages:
    """Pages that ask QUERIES statements each. ``looked``: how often each was made."""

    def __init__(self) -> None:
        self.looked: dict[Any, int] = {}

    async def make(self, what: Any, reader: Reader) -> SimpleNamespace:
        self.looked[what] = self.looked.get(what, 0) + 1
        return SimpleNamespace(queries=QUERIES, version=str(self.looked[what]))


def test_all_tabs_together_send_at_most_two_statements_a_second_and_each_page_has_its_turn(dsn: str) -> None:
    pages = CountedPages()
    live = Live(lambda: dsn, pages)  # type: ignore[arg-type]

    async def play() -> None:
        async with AsyncExitStack() as tabs:
            tabs.push_async_callback(live.close)
            connection = await tabs.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
            for number in range(10):
                for caller in ("ann", "bob"):  # two tabs of a page cost no more than one
                    await tabs.enter_async_context(live.watching(number, None, caller))  # type: ignore[arg-type]
            begun = live._budget._at
            for turn in range(int(SECONDS)):
                live._budget.spend(0, begun + turn)
                await live._look(connection, begun + turn)

    asyncio.run(play())
    statements = sum(pages.looked.values()) * (QUERIES + 2)
    assert statements <= SECONDS * QUERIES_A_SECOND + BURST + QUERIES + 2 <= 2 * SECONDS + BURST
    assert statements >= SECONDS * QUERIES_A_SECOND * 0.9
    assert set(pages.looked) == set(range(10))
    assert max(pages.looked.values()) - min(pages.looked.values()) <= 1
