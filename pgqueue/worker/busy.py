"""Marks a worker's queues as busy if the worker keeps finding work.

Enqueuers send no NOTIFY to busy queues. This saves time, because a transaction with a NOTIFY takes a database-wide lock at its commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import psycopg

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost
from pgqueue.runtime.clock import monotonic

HITS = 100  # a worker is busy if more than this many claims have found work within a second
FULL_HITS = 3  # this number is used instead of HITS if the last of these claims has filled all slots
MARK = 2.0  # a mark is valid for this many seconds
BUSY_WITHOUT_WORK = 0.2  # a worker is no longer busy after this many seconds without work


class Busy:
    """``queues`` returns the queues to mark. If ``listen`` is False, no queue is marked, because the worker then gets no NOTIFY anyway."""

    def __init__(self, link: Link, queues: Callable[[], list[str]], *, listen: bool) -> None:
        self._link, self._queues, self._listen = link, queues, listen
        self._hits: list[float] = []
        self._since = self._marked_at = self._last_work = 0.0
        self._marked_until = 0

    def __bool__(self) -> bool:
        return self._since > 0

    @property
    def is_over(self) -> bool:
        return monotonic() - self._last_work >= BUSY_WITHOUT_WORK

    async def note_work(self, *, full: bool) -> None:
        now = self._last_work = monotonic()
        self._hits = [hit for hit in self._hits[-HITS:] if now - hit < 1.0] + [now]
        if not self._since and ((full and len(self._hits) > FULL_HITS) or len(self._hits) > HITS):
            self._since = now
        if self._since and self._listen and now - self._marked_at > MARK / 2:
            self._marked_at = now
            self._marked_until = await self._link.run(statements.mark_busy(self._queues(), MARK))

    async def clear(self) -> None:
        if self._since:
            self._since = self._marked_at = 0.0
            self._hits.clear()
            if self._listen:
                with contextlib.suppress(
                    psycopg.Error, ConnectionLost
                ):  # if this fails, the mark runs out after MARK seconds
                    await self._link.once(statements.mark_busy(self._queues(), 0.0, self._marked_until))
