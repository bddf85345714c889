"""Repairs the indexes that every claim of jobs and every write of outcomes reads. Rebuilds an index if dead entries made it too large.

REINDEX CONCURRENTLY waits for every transaction that is open when it begins. It would also copy the dead entries that an old
snapshot still needs, so the index would stay large. So while there is such a transaction or snapshot, no index is rebuilt.
"""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import sql

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.silence import within
from pgqueue.database.statements.upkeep import IndexFault
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import (
    IndexMended,
    IndexNotMended,
    IndexOfAnotherOwner,
    RebuildPutOff,
)

SMALLEST_OUTGROWN = 64 << 20  # bytes; a smaller index is not worth a rebuild
# Seconds between two searches for sessions for which a rebuild would wait. Only sessions that both searches find put off the rebuild.
LOOK_PAUSE = 1.0
SESSION = "set lock_timeout = '2s'; set statement_timeout = 0"
MEND = {
    "outgrown": "reindex index concurrently pgqueue.{}",
    "invalid": "drop index concurrently if exists pgqueue.{}",
}


class Indexes:
    def __init__(self, link: Link, *, floor: int = SMALLEST_OUTGROWN) -> None:
        self._link, self._floor = link, floor
        self._rebuilt: dict[str, int] = {}
        self._said: set[str] = set()

    async def keep(self) -> bool:
        """Drops invalid indexes, and rebuilds at most one outgrown index.

        Returns False, so that the caller tries again soon, if another session was in the way, or if a further index is outgrown.
        """
        faults = [fault for fault in await self._faults() if self._may_rebuild(fault)]
        if not faults:
            return True
        before = await self._link.once(statements.list_obstacles())
        await asyncio.sleep(LOOK_PAUSE)
        held = before & await self._link.once(statements.list_obstacles())
        if held:
            emit(RebuildPutOff(faults[0].name, tuple(sorted(held))))
            return False
        leftovers = [fault for fault in faults if fault.fault == "invalid"]
        outgrown = [fault for fault in faults if fault.fault == "outgrown"]
        for fault in leftovers + outgrown[:1]:
            if not await self._mend(fault):
                return False
        return len(outgrown) <= 1

    async def _faults(self) -> list[IndexFault]:
        """Returns the faults to repair. An index that was rebuilt counts as outgrown only if its size has doubled since the rebuild."""
        return [
            fault
            for fault in await self._link.once(statements.check_indexes(self._floor))
            if fault.fault == "invalid" or fault.size > 2 * self._rebuilt.get(fault.name, 0)
        ]

    def _may_rebuild(self, fault: IndexFault) -> bool:
        if not fault.may_rebuild and fault.name not in self._said:
            self._said.add(fault.name)
            emit(IndexOfAnotherOwner(fault.name, fault.fault, command(fault)))
        return fault.may_rebuild

    async def _mend(self, fault: IndexFault) -> bool:
        connection = await self._link.connection()
        begun = asyncio.get_running_loop().time()
        try:
            with within(connection, self._link.limit):
                await connection.execute(SESSION, prepare=False)
                await connection.execute(sql.SQL(MEND[fault.fault]).format(sql.Identifier(fault.name)))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            emit(IndexNotMended(fault.name, error))
            return False
        size = await self._link.once(statements.measure_index(fault.name))
        self._rebuilt[fault.name] = size
        took = asyncio.get_running_loop().time() - begun
        emit(IndexMended(fault.name, fault.fault, took, fault.size, size))
        return True


def command(fault: IndexFault) -> str:
    """Returns the SQL command with which a person can repair the fault."""
    return MEND[fault.fault].format(fault.name)
