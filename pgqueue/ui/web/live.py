"""Says to open pages when they have changed. All tabs share one connection, which listens, and which looks at the pages in turn.

The database answers at most QUERIES_A_SECOND statements for all tabs together, on average. So the more different pages are open, the
later each of them is looked at again. A NOTIFY of an enqueue only makes the next look come sooner. Behind a pooler there is none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from psycopg import AsyncConnection

from pgqueue.database.run import wait_notified
from pgqueue.errors import ServerBusyError
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.access.counted import counted
from pgqueue.ui.reading.budget import Budget
from pgqueue.ui.reading.failures import too_many
from pgqueue.ui.reading.listening import ANSWER, Listening
from pgqueue.ui.reading.reader import reading_on
from pgqueue.ui.web.pages import Look, Pages

BURST = 8.0  # statements that may be sent at once after a pause
FRAME = 2  # statements that begin and end the transaction of a look
OFTEN = 1.0  # seconds between two looks at one page
ROUND = 0.5  # seconds between two turns
MOST_TABS = 1000
OF_ONE_CALLER = 50  # tabs, so that no caller takes the places of all others


class Tab:
    """An open page. ``changed`` is set when the page no longer has the version that the tab shows."""

    __slots__ = ("changed", "version")

    def __init__(self, version: str | None) -> None:
        self.version = version
        self.changed = asyncio.Event()


class Live:
    def __init__(self, dsn: Callable[[], str], pages: Pages) -> None:
        self._listening = Listening("live pages", dsn, lambda: bool(self._tabs), self._turn)
        self._pages = pages
        self._tabs: dict[Look, set[Tab]] = {}
        self._callers = Counter[str]()  # the number of tabs of each caller
        self._looked: dict[Look, float] = {}
        self._budget = Budget(monotonic())

    def check_room(self, caller: str) -> None:
        """Raises InvalidRequestError (429) if the caller has too many tabs, and ServerBusyError if the server has."""
        if self._callers[caller] >= OF_ONE_CALLER:
            raise too_many(f"{caller} has {OF_ONE_CALLER} pages open.", "close one")
        if self._callers.total() >= MOST_TABS:
            raise ServerBusyError("Too many pages are open.", do="load this one again later")

    @asynccontextmanager
    async def watching(self, what: Look, version: str | None, caller: str) -> AsyncIterator[Tab]:
        """Watches a page for one tab, which shows this version of it, while the block runs. Raises what ``check_room`` raises."""
        self.check_room(caller)
        tab = Tab(version)
        self._tabs.setdefault(what, set()).add(tab)
        self._listening.stir()
        try:
            with counted(self._callers, caller):
                yield tab
        finally:
            same = self._tabs[what]
            same.discard(tab)
            if not same:
                del self._tabs[what]
                self._looked.pop(what, None)

    async def close(self) -> None:
        await self._listening.aclose()

    async def _turn(self, connection: AsyncConnection) -> None:
        await wait_notified(connection, ROUND)
        now = monotonic()
        self._budget.spend(0, now)
        await self._look(connection, now)

    async def _look(self, connection: AsyncConnection, now: float) -> None:
        """Looks at the page at which nobody has looked for the longest time, if the budget allows it."""
        while self._budget.debt < BURST:
            due = [what for what in self._tabs if now - self._looked.get(what, 0) >= OFTEN]
            if not due:
                return
            what = min(due, key=lambda one: self._looked.get(one, 0))
            self._looked[what] = now
            try:
                async with asyncio.timeout(ANSWER), reading_on(connection) as reader:
                    made = await self._pages.make(what, reader)
            except Exception as error:
                self._budget.spend(FRAME, now)
                if connection.broken or connection.closed:
                    raise
                self._tell(what, f"error {type(error).__name__}")  # the tab shows the error page
                continue
            self._budget.spend(FRAME + made.queries, now)
            self._tell(what, made.version)

    def _tell(self, what: Look, version: str) -> None:
        for tab in self._tabs.get(what, ()):
            if tab.version is not None and tab.version != version:
                tab.changed.set()
            tab.version = version
