"""``JobHandle``: a stored job as its enqueuer holds it, and how one waits for its end.

Waiting announces itself (``mark_waited.sql``); only then does settling send a NOTIFY. It is an accelerator: the row is
read again at least every POLL seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from psycopg import AsyncConnection, Connection

from pgqueue import options, statements
from pgqueue.config import seconds
from pgqueue.database import run, run_async, wait_notified
from pgqueue.errors import (
    InvalidOptionError,
    JobFailedError,
    JobNotFoundError,
    JobUnchangedError,
    WaitTimeoutError,
    shown,
)
from pgqueue.job import FINAL, Job
from pgqueue.options import Duration
from pgqueue.rows import Why
from pgqueue.task import TaskSpec

POLL = 1.0
FINISHED = "pgqueue_finished"


class HasSpec(Protocol):
    @property
    def spec(self) -> TaskSpec: ...


class Connects(Protocol):
    """Who lends connections to read and change jobs with, and knows tasks: the app."""

    @property
    def tasks(self) -> Mapping[str, HasSpec]: ...
    def connection(self) -> AbstractContextManager[Connection[Any]]: ...
    def connection_async(self) -> AbstractAsyncContextManager[AsyncConnection[Any]]: ...
    def listening(self, channel: str) -> AbstractContextManager[Connection[Any]]: ...
    def listening_async(self, channel: str) -> AbstractAsyncContextManager[AsyncConnection[Any]]: ...


@dataclass(
    slots=True, unsafe_hash=True
)  # frozen would cost a bulk enqueue more than the rest of Python's part
class JobHandle:
    """A job's id, and whether this enqueue made it.

    ``created`` False: the key named in ``conflict`` (unique_key, throttle, debounce or idempotency_key) belongs to the
    existing job ``id``, which was in ``state``; if it was finished, with ``stored_result`` or ``stored_error``, which a key
    remembers when the job's row is gone. The job exists once the enqueuing transaction has committed.
    """

    id: int
    created: bool = True
    state: str | None = None
    conflict: str | None = None
    stored_result: Any = field(default=None, repr=False, compare=False)
    stored_error: str | None = field(default=None, repr=False, compare=False)
    app: Connects | None = field(default=None, repr=False, compare=False)

    def job(self) -> Job:
        """The job's row now; raises JobNotFoundError, also while its transaction is open or after it rolled back."""
        with self._app().connection() as connection:
            return _found(self.id, run(connection, statements.get_job(self.id)))

    async def ajob(self) -> Job:
        """``job`` for async callers."""
        async with self._app().connection_async() as connection:
            return _found(self.id, await run_async(connection, statements.get_job(self.id)))

    def why(self) -> Why:
        """Why the job is not running, in one word and one sentence; of a job that runs or is final, that it is."""
        with self._app().connection() as connection:
            return run(connection, statements.why(self.id))

    async def awhy(self) -> Why:
        """``why`` for async callers."""
        async with self._app().connection_async() as connection:
            return await run_async(connection, statements.why(self.id))

    def cancel(self, connection: Any = None) -> str:
        """Cancels the job: ``cancelled``; ``requested`` if it runs, for its worker hears of it within a second; or its final state.

        Joins the transaction of ``connection``, if given. Raises JobNotFoundError.
        """
        if connection is None:
            with self._app().connection() as own:
                return self.cancel(own)
        return _known(self.id, run(connection, statements.cancel(self.id)))

    async def acancel(self, connection: Any = None) -> str:
        """``cancel`` for async callers."""
        if connection is None:
            async with self._app().connection_async() as own:
                return await self.acancel(own)
        return _known(self.id, await run_async(connection, statements.cancel(self.id)))

    def edit(self, connection: Any = None, **changes: Any) -> None:
        """Changes a job that does not run: ``handle.edit(priority=-5, delay=0)``. Joins ``connection``'s transaction, if given.

        ``args`` (a dict of all of them), ``queue``, ``priority``, ``run_at`` or ``delay``, ``max_attempts``, ``timeout``, ``tags``,
        ``meta``, ``expires``, ``deadline``, as at its enqueue; None takes a timeout, an expiry or a deadline away.
        Raises JobUnchangedError if it runs or has ended, JobNotFoundError, and what enqueuing raises for bad values.
        """
        if connection is None:
            with self._app().connection() as own:
                self.edit(own, **changes)
            return
        if "args" in changes:
            job = _found(self.id, run(connection, statements.get_job(self.id)))
            changes["args"] = self._args(job.task, changes["args"])
        _edited(self.id, run(connection, statements.edit(self.id, options.changes(changes))))

    async def aedit(self, connection: Any = None, **changes: Any) -> None:
        """``edit`` for async callers."""
        if connection is None:
            async with self._app().connection_async() as own:
                await self.aedit(own, **changes)
            return
        if "args" in changes:
            job = _found(self.id, await run_async(connection, statements.get_job(self.id)))
            changes["args"] = self._args(job.task, changes["args"])
        edit = statements.edit(self.id, options.changes(changes))
        _edited(self.id, await run_async(connection, edit))

    def _args(self, task: str, args: Any) -> Any:
        """Checked against the task's signature, if the app knows it."""
        if not isinstance(args, Mapping):
            raise InvalidOptionError(f"args is {shown(args)}.", do="give a dict of all arguments")
        known = None if self.app is None else self.app.tasks.get(task)
        return args if known is None else json.loads(known.spec.encode((), args))

    def wait(self, timeout: Duration | None = None, watch: Callable[[Job], object] | None = None) -> Any:
        """Waits until the job is final and returns its result (what its handler returned).

        ``watch`` is called with the job as it is, about once a second. Raises JobFailedError if it ended dead or cancelled, WaitTimeoutError after ``timeout`` (seconds, a timedelta or a text
        such as ``5m``), and JobNotFoundError if there is no such job.
        """
        clock = _Deadline(self.id, timeout)
        with self._app().listening(FINISHED) as connection:
            while True:
                run(connection, statements.mark_waited(3 * POLL))
                job = run(connection, statements.get_job(self.id))
                if job is not None and watch is not None:
                    watch(job)
                if job is None or job.is_final:
                    return self._result(job)
                until = time.monotonic() + clock.step()
                while (left := until - time.monotonic()) > 0:
                    payloads = [note.payload for note in connection.notifies(timeout=left, stop_after=1)]
                    if str(self.id) in payloads:
                        break

    async def result(
        self, timeout: Duration | None = None, watch: Callable[[Job], object] | None = None
    ) -> Any:
        """``wait`` for async callers: ``await handle.result()``."""
        clock = _Deadline(self.id, timeout)
        async with self._app().listening_async(FINISHED) as connection:
            while True:
                await run_async(connection, statements.mark_waited(3 * POLL))
                job = await run_async(connection, statements.get_job(self.id))
                if job is not None and watch is not None:
                    watch(job)
                if job is None or job.is_final:
                    return self._result(job)
                until = asyncio.get_running_loop().time() + clock.step()
                while (left := until - asyncio.get_running_loop().time()) > 0:
                    if str(self.id) in await wait_notified(connection, left):
                        break

    def _result(self, job: Job | None) -> Any:
        """The job's, or, without its row, what its key remembered."""
        if job is None and self.state in FINAL:
            state, result, error = self.state, self.stored_result, self.stored_error
        else:
            job = _found(self.id, job)
            state, result, error = job.state, job.result, job.last_error
        if state != "completed":
            raise JobFailedError(self.id, state, error)
        return result

    def _app(self) -> Connects:
        if self.app is None:
            msg = "this handle was made without an app: use app.handle(id)"
            raise RuntimeError(msg)
        return self.app


class _Deadline:
    def __init__(
        self, job_id: int, timeout: Duration | None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout = seconds(timeout, "timeout") if isinstance(timeout, str | timedelta) else timeout
        self._job_id, self._now = job_id, now
        self._end = None if self._timeout is None else now() + self._timeout

    def step(self) -> float:
        """Seconds until the row must be read again; raises WaitTimeoutError once the time is up."""
        if self._end is None:
            return POLL
        left = self._end - self._now()
        if left <= 0:
            raise WaitTimeoutError(
                f"Job {self._job_id} is not finished after {self._timeout:g} s.",
                do=f"pgq jobs show {self._job_id}",
            )
        return min(left, POLL)


def _found(job_id: int, job: Job | None) -> Job:
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _known(job_id: int, said: str | None) -> str:
    if said is None:
        raise JobNotFoundError(job_id)
    return said


def _edited(job_id: int, said: str | None) -> None:
    if _known(job_id, said) != "edited":
        raise JobUnchangedError(f"Job {job_id} was not edited: it is {said}.", do=f"pgq jobs show {job_id}")
