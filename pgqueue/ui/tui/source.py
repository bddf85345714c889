"""Where the dashboard gets its pages: one connection that only reads, and that is replaced when it is lost. Actions get one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg import AsyncConnection

from pgqueue.database import statements
from pgqueue.database.lock_waits import limit_waits
from pgqueue.database.outage import one_line
from pgqueue.database.reach import connect_soon
from pgqueue.database.run import ORDINARY, connect_async, run_async
from pgqueue.database.statements import Who as Actor
from pgqueue.errors import PageNotFoundError, PgQueueError
from pgqueue.ui.acting.acts import ACTS, JOB_ACTIONS
from pgqueue.ui.acting.background import act_on
from pgqueue.ui.acting.doing import job_action, operate, set_setting, undo
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import Operation, Preview, preview_statement
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.reading.audit import sentence
from pgqueue.ui.reading.page import Notice, Page
from pgqueue.ui.reading.pages import located
from pgqueue.ui.reading.reader import Reader, reading_on

NAME = "pgqueue top"  # of its connections
ANSWER = 10.0  # seconds for a new connection, and for all statements of one page


class Lost(Exception):  # noqa: N818 - it is a state of the dashboard
    """The database did not answer, or the connection to it broke. The next call makes a new connection."""


class Source:
    """``queries``: how many statements the pages have sent so far."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: AsyncConnection | None = None
        self.queries = 0

    async def page(self, path: str) -> Page:
        """Makes a page. Raises Lost if the database cannot be reached, and an error of pgqueue or psycopg if it answers with one."""
        found = located(path)
        if found is None:
            raise PageNotFoundError(
                f"There is no page {path[:80]!r}.", do="press ? to see the keys of all pages"
            )
        route, asked = found
        async with self._reader() as reader:
            return await route.make(reader, asked)

    async def preview(self, form: Form, actor: Actor) -> Preview | None:
        """Counts what the action of the form would do. None: it is not about jobs."""
        if form.one("action") not in JOB_ACTIONS:
            return None
        async with self._reader() as reader:
            action = await job_action(form, actor, reader.ask)
            return await reader.ask(preview_statement(action))

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Reader]:
        reader: Reader | None = None
        try:
            async with asyncio.timeout(ANSWER):
                if self._connection is None:
                    self._connection = await connect_async(self._dsn, name=NAME, session=ORDINARY)
                async with reading_on(self._connection) as reader:
                    yield reader
        except TimeoutError:
            await self.close()
            raise Lost(f"The database has not answered for {ANSWER:g} s.") from None
        except Exception as error:
            if self._connection is None or self._connection.broken or self._connection.closed:
                await self.close()
                raise Lost(str(error)) from error
            raise
        finally:
            self.queries += reader.queries if reader else 0

    async def act(self, form: Form, actor: Actor) -> tuple[int | None, str]:
        """Does what the form asks for, with its row in the audit. Returns the number of this row, and what was done in words.

        Raises an error of pgqueue or psycopg if nothing was done.
        """
        chosen = ACTS[form.one("action")]
        steps = await self._steps(form, actor)

        async def act(connection: AsyncConnection) -> tuple[int | None, str]:
            await limit_waits(connection)
            if isinstance(steps, Undo):
                audit_id = await undo(connection, steps)
            elif steps is not None:
                audit_id = await operate(connection, steps)
            else:
                audit_id = await set_setting(connection, form, chosen, actor)
            if audit_id is None:
                return None, chosen.label
            [row] = await run_async(connection, statements.list_audit(audit_id=audit_id))
            return (audit_id if row.undo_until else None), sentence(row)

        return await act_on(lambda: connect_soon(self._dsn, name=NAME), act, steps)

    async def _steps(self, form: Form, actor: Actor) -> Operation | Undo | None:
        """Returns the steps of the action of the form. None: it changes a setting."""
        if form.one("action") == "undo":
            return Undo(form.id("audit"), actor)
        if form.one("action") not in JOB_ACTIONS:
            return None
        async with self._reader() as reader:
            return Operation(await job_action(form, actor, reader.ask))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await connection.close()


def problem(title: str, path: str, error: Exception) -> Page:
    """Returns the page that is shown in place of a page that cannot be made."""
    what, do = (error.what, error.do) if isinstance(error, PgQueueError) else (one_line(error), None)
    return Page(name="error", title=title, path=path, blocks=[Notice("error", what, do or None)])
