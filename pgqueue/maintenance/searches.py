"""Searches for rows that the leader changes, again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.runtime.clock import monotonic

# While an old snapshot keeps dead entries in the indexes, a search takes long. The pause after a search is at least this many times as long
# as the search.
TIMES_ITS_DURATION = 5


async def search_forever(
    what: str, search: Callable[[Link], Awaitable[bool]], link: Link, pause: float
) -> None:
    """Calls ``search`` again and again until it is cancelled: at once if it returns that there can be more, or else after a pause.

    ``pause``: the shortest pause, in seconds. ``what``: what log lines call the search.
    """

    async def turn() -> float:
        begun = monotonic()
        full = await search(link)
        return 0 if full else max(pause, TIMES_ITS_DURATION * (monotonic() - begun))

    await forever(what, turn)
