"""A real worker beside the tests: ``pgq work`` in a process of its own, for tests from end to end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from pgqueue.app.app import App
from pgqueue.app.handle import JobHandle
from pgqueue.app.waiters import Waiters
from pgqueue.database.pools import Pools
from pgqueue.model.declaring import named
from pgqueue.model.job import Job
from pgqueue.runtime.clock import monotonic

START = 30.0  # seconds
STOP = 15.0
PAUSE = 0.02
LINES = 20  # of the worker's log, in messages
KEPT = (
    "alembic_version",
    "workers",
    "leader",
    "tasks",
    "schedules",
    "schedule_sets",
)  # a running worker needs these rows


class WorkerInTest:
    """A worker process that runs the app's jobs in the database ``dsn``. ``log``: the file to which it writes.

    ``path``: where the process finds the app (``module:app``); None: the module that has it.
    """

    def __init__(self, app: App, dsn: str, log: Path, path: str | None = None) -> None:
        self.app, self.dsn, self.log, self._path = app, dsn, log, path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process, and returns when it serves. Raises RuntimeError, with the end of its log, if it does not within START seconds."""
        if self._process is not None and self._process.poll() is None:
            return
        path = self._path or ":".join(named(self.app))
        with self.log.open("ab") as log:
            self._process = _run(path, self.dsn, log)
        until = monotonic() + START
        while not self._serves():
            if self._process.poll() is not None or monotonic() > until:
                self.stop()
                msg = f"The worker for the tests did not start.\n{self.tail()}"
                raise RuntimeError(msg)
            time.sleep(PAUSE)

    def _serves(self) -> bool:
        assert self._process is not None
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(
                "select from pgqueue.workers where pid = %s and stopped_at is null and expires_at > now()",
                [self._process.pid],
            )
            return bool(found.fetchall())

    def stop(self) -> None:
        """Asks the process to end, and kills it if it does not within STOP seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tail(self) -> str:
        """Returns the end of the worker's log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LINES:] if self.log.exists() else []
        return (
            "\n".join(["The end of the worker's log:", *(f"  {line}" for line in lines)])
            if lines
            else "Its log is empty."
        )

    # ---------------------------------------------------------------- waiting

    def wait_for(self, handle: JobHandle | int, *, timeout: float = 10.0) -> Job:
        """Waits until the job has ended in any way, and returns it. After ``timeout`` seconds, raises AssertionError, which says why it waits.

        The job must be committed. A job whose row is not kept after its end is not found: JobNotFoundError.
        """
        handle = self.app.handle(handle) if isinstance(handle, int) else handle
        until = monotonic() + timeout
        while not (job := handle.job()).is_final:
            if monotonic() > until:
                why = handle.why()
                msg = f"Job {handle.id} ({job.task}) is {job.state} after {timeout:g} s: {why.sentence}\n{self.tail()}"
                raise AssertionError(msg)
            time.sleep(PAUSE)
        return job

    async def await_for(self, handle: JobHandle | int, *, timeout: float = 10.0) -> Job:
        """``wait_for`` for async tests."""
        return await asyncio.to_thread(self.wait_for, handle, timeout=timeout)

    # ---------------------------------------------------------------- the rows of a test

    def clean(self, tables: Sequence[str] = ()) -> None:
        """Removes the jobs and all that belongs to them, and the rows of ``tables``: tables of the user, such as ``shop.orders``.

        A job that still runs loses its lease.
        """
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            own = connection.execute(
                "select c.relname from pg_catalog.pg_class c where c.relnamespace = 'pgqueue'::regnamespace"
                " and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> all(%s) order by 1",
                [list(KEPT)],
            ).fetchall()
            names = [sql.Identifier("pgqueue", name) for (name,) in own]
            names += [sql.Identifier(*table.split(".")) for table in tables]
            with connection.transaction():
                for name in names:
                    connection.execute(sql.SQL("delete from {}").format(name))


@contextmanager
def directed(app: App, dsn: str) -> Iterator[None]:
    """In this block, the app's own connections go to the database ``dsn``."""
    store = app.store
    before: tuple[Any, ...] = (app._dsn, store.pools, store.waiters)  # noqa: SLF001
    app._dsn, store.pools, store.waiters = dsn, Pools(lambda: dsn), Waiters(lambda: dsn)  # noqa: SLF001
    try:
        yield
    finally:
        store.close()
        app._dsn, store.pools, store.waiters = before  # noqa: SLF001


def _run(path: str, dsn: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts ``pgq work`` with the modules that the tests can import."""
    folders = os.pathsep.join(str(Path(folder).resolve()) for folder in sys.path)
    environment = {**os.environ, "PGQUEUE_DSN": dsn, "PYTHONPATH": folders}
    return subprocess.Popen(  # noqa: S603 - no part of the command comes from outside
        [sys.executable, "-m", "pgqueue", "work", "-A", path, "-Q", "*", "--poll", "0.2"],
        env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )  # fmt: skip
