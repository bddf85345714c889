"""Deletes the checkpoints of jobs whose rows retention has removed, a few hundred jobs at a time."""

from __future__ import annotations

import asyncio

from pgqueue.database import statements
from pgqueue.database.link import Link

JOBS_AT_ONCE = 500  # one statement examines the checkpoints of up to this many jobs
STATEMENTS = 200  # one call of ``keep`` runs at most this many statements; the next call goes on where this call stopped
PAUSE = 0.02  # seconds between two statements, so that the workers can use the disk


class Checkpoints:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._after = -(2**63)  # below every id

    async def keep(self) -> bool:
        """Deletes checkpoints. Always returns True (the caller need not try again soon), because no lock can be in the way."""
        for _ in range(STATEMENTS):
            last = await self._link.once(statements.purge_checkpoints(self._after, JOBS_AT_ONCE))
            if last is None:
                self._after = -(2**63)
                break
            self._after = last
            await asyncio.sleep(PAUSE)
        return True
