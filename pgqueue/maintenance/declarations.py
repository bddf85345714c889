"""Keeps the rows of the schedules and tasks that an app's code declares. A worker writes these rows at its start, and again and again.

So the newest deploy stays in force as long as one of its workers lives. After a rollback, the workers of the former deploy bring
back its declarations in the same way. See functions/sync_schedules.sql and functions/sync_tasks.sql.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.database.sifting import sift
from pgqueue.model.schedule import Schedule, fingerprint
from pgqueue.model.task import TaskSpec
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import (
    NewerDeployInForce,
    ScheduleForeign,
    ScheduleKept,
    ScheduleSynced,
    TaskNotDeclared,
)
from pgqueue.text.described import message

AGAIN, LIFE = 12, 30  # heartbeats until a worker writes its declarations again, and until these count as gone
REFUSALS = {"foreign": ScheduleForeign, "kept": ScheduleKept}  # answers about schedules that stay as they are
TRY_AGAIN_AFTER = 1.0  # seconds, if another worker was syncing, perhaps other declarations


class Declarations:
    """``app``: a name that tells this app's schedules from schedules of other apps in the same database. ``named``: the user chose this name."""

    def __init__(
        self,
        app: str,
        schedules: Sequence[Schedule],
        heartbeat: float,
        tasks: Sequence[TaskSpec] = (),
        *,
        named: bool = False,
    ) -> None:
        self._app, self._schedules, self._heartbeat = app, list(schedules), heartbeat
        self._tasks, self._named = tasks, named
        self._fingerprint = fingerprint(self._schedules)
        self._pause = TRY_AGAIN_AFTER
        self._said: set[str | None] = set()
        self._failed: set[str] = set()

    def sync(self) -> Statement[list[tuple[str | None, str]]]:
        return statements.sync_schedules(
            self._app, self._fingerprint, self._schedules, LIFE * self._heartbeat,
            [task.name for task in self._tasks], named=self._named,
        )  # fmt: skip

    def sync_tasks(self, tasks: Sequence[TaskSpec] | None = None) -> Statement[None]:
        """Declares these tasks, by default all tasks of the app."""
        some = self._tasks if tasks is None else tasks
        declared = [{"name": task.name, "options": task.options, "keep": task.keep} for task in some]
        return statements.sync_tasks(self._app, declared, LIFE * self._heartbeat)

    def note(self, changes: list[tuple[str | None, str]]) -> None:
        """Reports what the statement answered, and decides when to sync again."""
        became = changes[-1][1]
        self._pause = TRY_AGAIN_AFTER if became == "busy" else AGAIN * self._heartbeat
        for name, what in changes[:-1]:
            if what not in REFUSALS:
                emit(ScheduleSynced(name, what))
            elif name not in self._said:
                self._said.add(name)
                emit(REFUSALS[what](name, self._app))
        if became == "older" and None not in self._said:
            emit(NewerDeployInForce())
        if became == "older":
            self._said.add(None)
        elif became != "busy":
            self._said.discard(None)

    async def _sift_tasks(self, link: Link) -> None:
        """Syncs all tasks. If the stored row of a task fails, the others are synced, and the task is reported once."""

        async def some(tasks: Sequence[TaskSpec]) -> list[None]:
            await link.once(self.sync_tasks(tasks))
            self._failed.difference_update(task.name for task in tasks)
            return [None]

        async def give_up(task: TaskSpec, error: Exception) -> None:
            if task.name not in self._failed:
                self._failed.add(task.name)
                emit(TaskNotDeclared(task.name, message(error)))

        await sift(self._tasks, some, give_up)

    async def run(self, link: Link) -> None:
        """Goes on until it is cancelled; ``link`` is open only while it is used."""
        trouble = Trouble("the sync of what the code declares")
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self._sift_tasks(link)
                self.note(await link.once(self.sync()))
                trouble.over()
            except Exception as error:  # noqa: BLE001 - it is logged
                self._pause = max(AGAIN * self._heartbeat, trouble.after(error))
            finally:
                await link.close()
