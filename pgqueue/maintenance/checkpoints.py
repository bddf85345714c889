"""Deletes the checkpoints of jobs whose rows retention has removed, a few hundred jobs at a time."""

from __future__ import annotations

import asyncio

from pgqueue.database import statements
from pgqueue.database.link import Link

JOBS_AT_ONCE = 500  # jobs that one statement looks at
STATEMENTS = 200  # the most statements of one turn; the next turn goes on where this one stopped
PAUSE = 0.02  # seconds between two statements, so that the workers can use the disk


class Checkpoints:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._after = -(2**63)  # below every id

    async def keep(self) -> bool:
        """Deletes checkpoints. Returns True, because no lock of another session can be in the way."""
        for _ in range(STATEMENTS):
            last = await self._link.once(statements.purge_checkpoints(self._after, JOBS_AT_ONCE))
            if last is None:
                self._after = -(2**63)
                break
            self._after = last
            await asyncio.sleep(PAUSE)
        return True
