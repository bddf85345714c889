"""Deletes the checkpoints, signals and log lines of jobs whose rows retention has removed, a few hundred jobs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.sql import Statement

JOBS_AT_ONCE = 500  # one statement examines the rows of up to this many jobs
STATEMENTS = 200  # one call of ``keep`` runs at most this many statements; the next call goes on where this call stopped
PAUSE = 0.02  # seconds between two statements, so that the workers can use the disk
FIRST = -(2**63)  # below every id

Purge = Callable[[int, int], Statement[int | None]]


class Leftovers:
    """The rows of one table that belong to jobs which are gone. ``purge`` makes the statement that deletes some of them."""

    def __init__(self, link: Link, purge: Purge) -> None:
        self._link, self._purge = link, purge
        self._after = FIRST

    async def keep(self) -> bool:
        """Deletes rows. Always returns True (the caller need not try again soon), because no lock can be in the way."""
        for _ in range(STATEMENTS):
            last = await self._link.once(self._purge(self._after, JOBS_AT_ONCE))
            if last is None:
                self._after = FIRST
                break
            self._after = last
            await asyncio.sleep(PAUSE)
        return True


def checkpoints(link: Link) -> Leftovers:
    return Leftovers(link, statements.purge_checkpoints)


def signals(link: Link) -> Leftovers:
    return Leftovers(link, statements.purge_signals)


def job_lines(link: Link) -> Leftovers:
    return Leftovers(link, statements.purge_job_lines)
