"""Keeps the rows of the schedules that an app's code declares: written when a worker starts, and said again now and then.

What is said again keeps the newest deploy in force as long as a worker of it lives, and lets the former one's schedules come
back after a rollback; see functions/sync_schedules.sql.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pgqueue import statements
from pgqueue.connections import TROUBLE, Link
from pgqueue.schedule import Schedule, fingerprint
from pgqueue.sql import Statement

AGAIN, LIFE = 12, 30  # heartbeats until a set of schedules is reported again, and until it counts as gone
BUSY = 1.0  # seconds; another worker was at it, perhaps one with another set

log = logging.getLogger("pgqueue")


class Declarations:
    """``app`` tells the schedules of one app from those of others in the same database."""

    def __init__(self, app: str, schedules: Sequence[Schedule], heartbeat: float) -> None:
        self._app, self._schedules, self._heartbeat = app, list(schedules), heartbeat
        self._fingerprint = fingerprint(self._schedules)
        self._pause: float | None = BUSY
        self._said = ""

    def sync(self) -> Statement[list[tuple[str | None, str]]]:
        return statements.sync_schedules(
            self._app, self._fingerprint, self._schedules, LIFE * self._heartbeat
        )

    def note(self, changes: list[tuple[str | None, str]]) -> None:
        """What the statement answered; decides when it is asked again."""
        became = changes[-1][1]
        self._pause = None if became == "none" else BUSY if became == "busy" else AGAIN * self._heartbeat
        for name, what in changes[:-1]:
            if what == "foreign":
                log.warning(
                    "schedule %s was not made by the code of %s, so it stays as it is; give one of them another name",
                    name, self._app,
                )  # fmt: skip
            else:
                log.info("schedule %s is %s", name, what)
        if became == "older" and self._said != became:
            log.info("the schedules of a newer deploy are in force, not those of this worker's code")
        self._said = became

    async def run(self, link: Link) -> None:
        """Goes on until it is cancelled; ``link`` is open only while it is used."""
        while self._pause is not None:
            await asyncio.sleep(self._pause)
            try:
                self.note(await link.once(self.sync()))
            except Exception as error:
                self._pause = AGAIN * self._heartbeat
                if not isinstance(error, TROUBLE):
                    log.exception("the schedules of the code could not be synced; it is tried again")
            finally:
                await link.close()
