"""What an error of the database means: the server was lost, or it gave an answer.

The SQLSTATE decides, never Python's class. psycopg raises OperationalError also for a lock that was not free, a full disk and a
table without replica identity. No other module decides this.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakSet

import psycopg
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential, wait_random

from pgqueue import errors
from pgqueue.database.driver_errors import sqlstate
from pgqueue.database.dsn import redact
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import OutageBegun, OutageOver, TurnFailed

RECONNECT = wait_exponential(multiplier=0.05, max=2.0) + wait_random(0, 0.1)
LONGEST_PAUSE = 30.0  # seconds; the longest pause before the next try after an answer that is an error
REMIND_EVERY = 60.0  # seconds after which the same trouble is told again
# In this order, the server: stops, has crashed, is starting, has cut an idle session, has no free connection. ``is_lost`` adds class 08,
# connection exceptions.
LOST = ("57P01", "57P02", "57P03", "57P05", "53300")
# Conflicts with another transaction, or with a time limit: the server is well, and has done nothing.
CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)
# What the server lacks for now: memory, disk, connections (53); an object in the right state (55); a working disk (58); a primary.
LACKS = ("53", "55", "58", "25006")
# A session that began while the server was read-only may stay read-only. Only a new session learns that the server no longer is.
READ_ONLY = (errors.ReadOnlyServerError, psycopg.errors.ReadOnlySqlTransaction)


class ConnectionLost(Exception):  # noqa: N818 - the name that everyone uses
    """The connection broke, was silent for too long, or could not be made. The server may have run the statement, or not."""


def is_lost(error: BaseException) -> bool:
    """Whether the server was lost, so that only a new connection helps. Any other error is the server's answer, and is reported as one."""
    if isinstance(error, ConnectionLost | errors.DatabaseUnreachableError | errors.TooManyConnectionsError):
        return True
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    if error.diag.severity_nonlocalized == "ERROR":
        return False  # a trigger may raise any SQLSTATE; an error that ends the session is FATAL
    state = sqlstate(error)
    return state is None or state.startswith("08") or state in LOST


def may_pass(error: BaseException) -> bool:
    """Whether the same statement may succeed later: after a conflict, or once the server has what it lacks now."""
    if isinstance(error, (*CONFLICTS, errors.LockedError, errors.ReadOnlyServerError)):
        return True
    return isinstance(error, psycopg.Error) and (sqlstate(error) or "").startswith(LACKS)


def one_line(error: BaseException) -> str:
    """An error in one line, with its SQLSTATE."""
    line = " ".join(str(error).split()) or type(error).__name__
    state = sqlstate(error) if isinstance(error, psycopg.Error) else None
    return line if state is None else f"{line} (SQLSTATE {state})"


class Cuttable(Protocol):
    def cut(self) -> None: ...


class Outage:
    """Says once that the database went away, and once that it is back, however many connections notice it.

    If a single connection is cut and can be replaced immediately, that is no outage. Whenever a connection was replaced,
    ``reconnected`` is called, on any thread: the server may have crashed and lost commits that were not on disk.
    If one of ``links`` falls silent, the others are cut immediately: the same cause silences them, so no link waits for its own limit.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.reconnected: Callable[[], object] = lambda: None
        self.since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()
        self.links: WeakSet[Cuttable] = WeakSet()

    def silent(self, link: Cuttable) -> None:
        """``link`` got no answer in time: cuts the others."""
        for other in self.links - {link}:
            other.cut()

    def unreachable(self, error: BaseException, begun: float) -> None:
        """A try that began at ``begun`` made no connection. A try begun before the end of the last outage belongs to that outage."""
        with self._lock:
            if self.since is None and begun >= self._ended:
                self.since = monotonic()
                why = str(error).strip().splitlines() or [type(error).__name__]
                emit(OutageBegun(redact(self.dsn), why[-1]))

    def connected(self, *, again: bool) -> None:
        """A new connection was made; ``again``: it replaces one that broke."""
        self._end(monotonic())
        if again:
            self.reconnected()

    def answered(self, begun: float) -> None:
        """A statement sent at ``begun`` was answered. If all links are connected, no new connection comes, so the answer ends the outage."""
        if self.since is not None:
            self._end(begun)

    def _end(self, proven: float) -> None:
        with self._lock:
            if self.since is not None and proven > self.since:
                self._ended = monotonic()
                emit(OutageOver(self._ended - self.since))
                self.since = None


class Trouble:
    """Reports the errors of a service that repeats its work, each kind once a minute. The pauses between tries grow."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._said: dict[str, float] = {}

    def over(self) -> None:
        self._failures = 0

    def after(self, error: Exception) -> float:
        """Reports the error, and returns the seconds to wait before the next turn."""
        self._failures += 1
        if is_lost(error):  # ``Outage`` reports it
            return min(0.05 * 2.0 ** min(self._failures, 6), 2.0)
        pause = min(0.25 * 2.0 ** min(self._failures, 7), LONGEST_PAUSE)
        now, line = monotonic(), one_line(error)
        kind = (sqlstate(error) if isinstance(error, psycopg.Error) else None) or line
        if now - self._said.get(kind, -REMIND_EVERY) >= REMIND_EVERY:
            self._said = {said: at for said, at in self._said.items() if now - at < REMIND_EVERY} | {
                kind: now
            }
            if isinstance(error, CONFLICTS):
                emit(TurnFailed(self._what, "conflict", line, pause, None))
            elif isinstance(error, psycopg.Error | errors.PgQueueError):
                emit(TurnFailed(self._what, "answer", line, pause, None))
            else:
                emit(TurnFailed(self._what, "bug", line, pause, error))
        return pause


async def forever(what: str, turn: Callable[[], Awaitable[float]]) -> None:
    """Takes one turn after the other until it is cancelled. Each turn returns the seconds to wait before the next."""
    trouble = Trouble(what)
    while True:
        try:
            pause = await turn()
            trouble.over()
        except Exception as error:  # noqa: BLE001 - it is logged
            pause = trouble.after(error)
        await asyncio.sleep(pause)


def until_back() -> AsyncRetrying:
    """Tries again while the server is lost."""
    return AsyncRetrying(retry=retry_if_exception_type(ConnectionLost), wait=RECONNECT)
