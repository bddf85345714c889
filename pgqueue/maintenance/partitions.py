"""Keeps the days of finished jobs and transitions: made ahead, dropped when over age, never waiting long for a lock."""

from __future__ import annotations

import logging

import psycopg

from pgqueue import statements
from pgqueue.connections import Link

AHEAD = 3  # days
PATIENCE = b"set lock_timeout = '200ms'"

log = logging.getLogger("pgqueue")


async def keep_partitions(link: Link) -> bool:
    """Whether it was done; False if somebody holds a lock, and it has to be tried again."""
    await (await link.connection()).execute(PATIENCE)
    try:
        for name in await link.once(statements.add_partitions(AHEAD)):
            log.info("made partition %s", name)
        for name in await link.once(statements.drop_partitions()):
            log.info("dropped partition %s, over age", name)
    except psycopg.errors.LockNotAvailable:
        log.info("the partitions are locked; their upkeep is tried again later")
        return False
    return True
