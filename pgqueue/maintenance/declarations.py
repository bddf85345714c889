"""Writes rows for the schedules and tasks that an app's code declares. A worker writes these rows at its start, and every AGAIN heartbeats.

So the declarations of the newest deploy are in force as long as one of its workers lives. After a rollback, only workers of the former
deploy live. They still write their declarations, so these declarations come back into force. See functions/sync_schedules.sql and
sync_tasks.sql.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble, is_lost
from pgqueue.database.run import run
from pgqueue.database.sifting import is_of_a_value, sift
from pgqueue.errors import PgQueueError
from pgqueue.model.schedule import Schedule, fingerprint
from pgqueue.model.task import TaskSpec
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import (
    DeclarationsPutOff,
    NewerDeployInForce,
    ScheduleForeign,
    ScheduleKept,
    ScheduleSynced,
    TaskNotDeclared,
)
from pgqueue.text.described import message

# A worker writes its declarations again every AGAIN heartbeats. If no worker of a deploy has done this for LIFE heartbeats, the
# declarations of an older deploy can replace those of this deploy.
AGAIN, LIFE = 12, 30
# The answers of sync_schedules.sql about schedules whose rows it does not change, and the events that report these answers.
REFUSALS = {"foreign": ScheduleForeign, "kept": ScheduleKept}
TRY_AGAIN_AFTER = 1.0  # seconds until the next sync, if another worker was syncing at the same time


class Declarations:
    """The declarations of one app.

    ``app``: the app's name. It is stored with the app's schedules, which shows that they do not belong to another app in the same database.
    ``named``: whether the user chose the app's name.
    """

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

    def begin(self, connection: Connection) -> None:
        """Writes the rows for the first time, when the worker starts.

        If another transaction has locked such a row, or a stored row causes an error, ``run`` writes the rows later.
        """
        try:
            run(connection, self.sync_tasks())
            self.note(run(connection, self.sync()))
        except Exception as error:
            if is_lost(error) or (isinstance(error, PgQueueError) and not is_of_a_value(error)):
                raise
            emit(DeclarationsPutOff(error))

    def sync(self) -> Statement[list[tuple[str | None, str]]]:
        return statements.sync_schedules(
            self._app, self._fingerprint, self._schedules, LIFE * self._heartbeat,
            [task.name for task in self._tasks], named=self._named,
        )  # fmt: skip

    def sync_tasks(self, tasks: Sequence[TaskSpec] | None = None) -> Statement[None]:
        """Returns the statement that declares ``tasks``, or all tasks of the app if ``tasks`` is None."""
        some = self._tasks if tasks is None else tasks
        declared = [
            {
                "name": task.name,
                "options": task.options,
                "keep": task.keep,
                "redact": task.redaction.as_json(),
            }
            for task in some
        ]
        return statements.sync_tasks(self._app, declared, LIFE * self._heartbeat)

    def note(self, changes: list[tuple[str | None, str]]) -> None:
        """Reports the ``changes`` that the statement of ``sync`` returned, and decides when to sync again."""
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
        """Declares all tasks. If the row of a task cannot be written, the other tasks are declared, and that task is reported once."""

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
        """Syncs again and again until it is cancelled. ``link`` is closed between two syncs."""
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
