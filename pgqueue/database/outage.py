"""What an error of the database means: the server was lost, or it gave an answer.

Judged by SQLSTATE and never by Python's class: psycopg's OperationalError is also a lock that was not free, a full disk and a
table without replica identity. This is the only place that judges.
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
LONGEST_PAUSE = 30.0  # seconds before the next try after an answer that will not change soon
REMIND_EVERY = 60.0  # seconds after which the same trouble is told again
# Connection exceptions (class 08); the server stops, crashed, starts; it cut an idle session; it has no free connection.
LOST = ("57P01", "57P02", "57P03", "57P05", "53300")
CONFLICTS = (  # with another transaction, or with a time limit: the server is well, and has done nothing
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)
# What the server lacks for now: memory, disk, locks, connections; objects in another state; a working disk; a primary.
LACKS = ("53", "55", "58", "25006")
# The session may have begun while the server was read-only, and stays so: only a new one learns that it no longer is.
READ_ONLY = (errors.ReadOnlyServerError, psycopg.errors.ReadOnlySqlTransaction)


class ConnectionLost(Exception):  # noqa: N818 - what it is called everywhere
    """The connection broke, was silent for too long, or could not be made. What it was asked for may have happened or not."""


def is_lost(error: BaseException) -> bool:
    """Whether the server was lost, so that only a new connection helps. Another error is its answer, and is told as such."""
    if isinstance(error, ConnectionLost | errors.DatabaseUnreachableError | errors.TooManyConnectionsError):
        return True
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    if error.diag.severity_nonlocalized == "ERROR":
        return False  # a trigger's, perhaps: what ends a session is FATAL
    state = sqlstate(error)
    return state is None or state.startswith("08") or state in LOST


def may_pass(error: BaseException) -> bool:
    """Whether the same statement may succeed later, with nothing changed: after a conflict, or when the server has again what it lacks."""
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
    """Says once that the database went away, and once that it is back, however many connections notice, and however late.

    A connection that is cut alone, and can be replaced at once, is no outage. ``reconnected`` is called whenever one was
    replaced, on any thread: the server may have crashed meanwhile and forgotten what it had not written down.
    If one of ``links`` falls silent, the others are cut, because what silenced one silences them, too: none waits for its own limit.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.reconnected: Callable[[], object] = lambda: None
        self.since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()
        self.links: WeakSet[Cuttable] = WeakSet()

    def silent(self, link: Cuttable) -> None:
        """It gave no answer in time."""
        for other in self.links - {link}:
            other.cut()

    def unreachable(self, error: BaseException, begun: float) -> None:
        """No connection could be made, in a try begun at ``begun``. A try begun before the end of the last outage belongs to that outage."""
        with self._lock:
            if self.since is None and begun >= self._ended:
                self.since = monotonic()
                why = str(error).strip().splitlines() or [type(error).__name__]
                emit(OutageBegun(redact(self.dsn), why[-1]))

    def connected(self, *, again: bool) -> None:
        """A new connection was made, ``again`` if in the place of one that broke."""
        self._end(monotonic())
        if again:
            self.reconnected()

    def answered(self, begun: float) -> None:
        """A statement sent at ``begun`` was answered: where all others are connected, no new connection would end the outage."""
        if self.since is not None:
            self._end(begun)

    def _end(self, proven: float) -> None:
        with self._lock:
            if self.since is not None and proven > self.since:
                self._ended = monotonic()
                emit(OutageOver(self._ended - self.since))
                self.since = None


class Trouble:
    """The errors of a service that repeats its work: each is told as what it is, once a minute, and the pauses between tries grow."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._said: dict[str, float] = {}

    def over(self) -> None:
        self._failures = 0

    def after(self, error: Exception) -> float:
        """Tells of the error, and returns the seconds to wait before the next turn."""
        self._failures += 1
        if is_lost(error):  # an outage has its own lines
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
    """Takes one turn after the other until it is cancelled; each says how many seconds to wait before the next."""
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
