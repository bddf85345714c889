"""Starts real worker processes for a test, and reads their state from the database and from their logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import Connection

from tests.apps import workload
from tests.waiting import STARTS, wait_until

ROOT = Path(__file__).parents[2]
APP = "tests.apps.workload:app"
# With the default lease, a test would have to wait half a minute for a rescue.
QUICK = (
    "--lease",
    "1.5",
    "--heartbeat",
    "0.3",
    "--poll",
    "0.2",
)


class WorkerProcess:
    """A process of ``pgq work``, with its log in a file."""

    def __init__(
        self,
        dsn: str,
        log: Path,
        options: tuple[str, ...],
        environment: Mapping[str, str],
        broken: str,
        app: str = APP,
    ) -> None:
        module = ("tests.apps.workload", broken) if broken else ("pgqueue",)
        self.log = log
        self.stopped = False
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, "work", "-A", app, *options],
                cwd=ROOT,
                env={**os.environ, **environment, "PGQUEUE_DSN": dsn, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.stopped = number is signal.SIGSTOP

    def wait(self, timeout: float = 20) -> int:
        """Waits until the process has ended, and returns its exit code."""
        return self.process.wait(timeout=timeout)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self, containing: str, since: int = 0) -> list[str]:
        """Returns the lines of the worker's log that contain this text, without the first ``since`` bytes of the log."""
        text = self.log.read_bytes()[since:].decode(errors="replace")
        return [line for line in text.splitlines() if containing in line]

    def id(self, db: Connection[Any]) -> int | None:
        """Returns the id under which the worker works now, or None if it is not registered."""
        row = db.execute(
            "select id from pgqueue.workers where pid = %s and state in ('running', 'draining')"
            " and started_at > clock_timestamp() - interval '1 hour' order by started_at desc limit 1",
            [self.pid],
        ).fetchone()
        return row[0] if row else None


class WorkerProcesses:
    """Starts workers on one database. When the ``with`` block ends, all of them are killed and their logs are printed.

    If ``quiet`` is true, the logs are printed only if the block raises an error. ``app`` is the path of the app of the workers.
    """

    def __init__(
        self,
        dsn: str,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        quiet: bool = False,
        app: str = APP,
    ) -> None:
        self.dsn, self.directory, self.quiet, self.app = dsn, directory, quiet, app
        self.environment = dict(environment or {})
        self.all: list[WorkerProcess] = []

    def start(self, *options: str, broken: str = "") -> WorkerProcess:
        log = self.directory / f"worker-{len(self.all)}.log"
        worker = WorkerProcess(self.dsn, log, options, self.environment, broken, self.app)
        self.all.append(worker)
        return worker

    def start_registered(self, *options: str, broken: str = "") -> tuple[WorkerProcess, int]:
        """Starts a worker and waits until it is registered. Returns the worker and its id."""
        worker = self.start(*options, broken=broken)
        with psycopg.connect(self.dsn, autocommit=True) as db:

            def registered() -> int | None:
                assert worker.process.poll() is None, worker.log.read_text()
                return worker.id(db)

            return worker, wait_until(registered, STARTS) or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.all:
            worker.end()
        if error is not None or not self.quiet:
            for worker in self.all:
                print(f"--- {worker.log.name} (pid {worker.pid})", worker.log.read_text()[-3000:], sep="\n")


def enqueue(db: Connection[Any], task: str, op: int, effect: bool = True, **args: Any) -> int:
    """Enqueues a job and stores its row of ``chk.business``, in one transaction. Returns the job's id."""
    with db.transaction():
        db.execute("insert into chk.business (op) values (%s)", [op])
        handle = (
            getattr(workload, task)
            .using(db, tags=["effect"] if effect else [], idempotency_key=str(op))
            .enqueue(op=op, **args)
        )
    return handle.id


def state_of(db: Connection[Any], job_id: int) -> str | None:
    row = db.execute("select state from pgqueue.jobs where id = %s", [job_id]).fetchone()
    return row[0] if row else None


def unfinished(db: Connection[Any]) -> int:
    row = db.execute("select count(*) from pgqueue.jobs_live").fetchone()
    return row[0] if row else 0


@contextmanager
def gate(dsn: str, op: int) -> Any:
    """Keeps the gate ``op`` closed: every handler that comes to this gate waits. Yields a function that opens the gate.

    The gate also opens when the block ends.
    """
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [op])
        yield lambda: holder.execute("select pg_advisory_unlock_all()")
