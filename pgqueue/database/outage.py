"""Decides what an error of psycopg means: either the server was lost, or it answered with an error. Only this module decides that.

The SQLSTATE decides, never the Python class of the error. psycopg raises OperationalError not only if the connection broke, but
also for a lock that was not free, a full disk and a table without replica identity.
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
from pgqueue.database.driver_errors import explain, message, sqlstate
from pgqueue.database.dsn import redact
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import OutageBegun, OutageOver, TurnFailed

RECONNECT = wait_exponential(multiplier=0.05, max=2.0) + wait_random(0, 0.1)
# The longest pause, in seconds, before the next try after the server has answered with an error.
LONGEST_PAUSE = 30.0
REMIND_EVERY = 60.0  # the same kind of error is reported again after this many seconds
# These SQLSTATEs mean that the server was lost. It stops (57P01), has crashed (57P02), is starting (57P03), has ended an idle session (57P05),
# or has no free connection (53300). ``is_lost`` adds class 08, connection exceptions.
LOST = ("57P01", "57P02", "57P03", "57P05", "53300")
# Another transaction or a time limit stopped the statement. The server works, and has undone the statement.
CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)
# If an SQLSTATE begins with one of these, the same statement can succeed later. The server now lacks memory, disk space or connections
# (53), an object is not in the right state (55), a disk does not work (58), or the server is read-only (25006).
LACKS = ("53", "55", "58", "25006")
# If a session gets one of these errors, it is replaced: a session that began on a read-only server can stay read-only, even if the server
# is no longer read-only.
READ_ONLY = (errors.ReadOnlyServerError, psycopg.errors.ReadOnlySqlTransaction)


class ConnectionLost(Exception):  # noqa: N818 - everyone uses this name
    """The connection broke, was silent for too long, or could not be made. Nobody knows whether the server has run the statement."""


def is_lost(error: BaseException) -> bool:
    """Returns whether the server was lost, so that only a new connection helps. Any other error is an answer of the server, or a bug."""
    if isinstance(error, ConnectionLost | errors.DatabaseUnreachableError | errors.TooManyConnectionsError):
        return True
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    if error.diag.severity_nonlocalized == "ERROR":
        return False  # a trigger of a user can raise any SQLSTATE, but only as an ERROR; an error that ends the session is FATAL
    state = sqlstate(error)
    return state is None or state.startswith("08") or state in LOST


def shown_to_a_person(error: BaseException) -> errors.PgQueueError | None:
    """Returns the error of pgqueue for this error of a driver, also if the server ended the connection. None: it is a bug."""
    known = explain(error)
    if known is None and is_lost(error):
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return errors.DatabaseUnreachableError(
            "The database ended the connection.", why=why, do="try it again in a moment"
        )
    return known


def may_pass(error: BaseException) -> bool:
    """Returns whether the same statement can succeed later: another transaction, a time limit or a lack of resources stopped it."""
    if isinstance(error, (*CONFLICTS, errors.LockedError, errors.ReadOnlyServerError)):
        return True
    return isinstance(error, psycopg.Error) and (sqlstate(error) or "").startswith(LACKS)


def one_line(error: BaseException | str) -> str:
    """Returns the text of an error in one line, with its SQLSTATE if there is one, and without the values of rows."""
    line = " ".join((error if isinstance(error, str) else message(error)).split()) or type(error).__name__
    state = sqlstate(error) if isinstance(error, psycopg.Error) else None
    return line if state is None else f"{line} (SQLSTATE {state})"


class Cuttable(Protocol):
    def cut(self) -> None: ...


class Outage:
    """Reports the beginning and the end of an outage of the database. Reports each only once, even if many connections notice it.

    If a single connection is cut and can be replaced immediately, that is no outage. Whenever a broken connection was replaced,
    ``reconnected`` is called, on any thread: the server can have crashed and lost commits that were not on disk.
    If one of ``links`` gets no answer in time, the other links are cut immediately. The same cause has probably silenced them, too, and
    without the cut each of them would wait until its own time limit.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.reconnected: Callable[[], object] = lambda: None
        self.since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()
        self.links: WeakSet[Cuttable] = WeakSet()

    def silent(self, link: Cuttable) -> None:
        """Cuts the other links, because ``link`` got no answer in time."""
        for other in self.links - {link}:
            other.cut()

    def unreachable(self, error: BaseException, begun: float) -> None:
        """Notes that a try to connect has failed. If it began (``begun``) before the end of the last outage, it belongs to that outage."""
        with self._lock:
            if self.since is None and begun >= self._ended:
                self.since = monotonic()
                why = str(error).strip().splitlines() or [type(error).__name__]
                emit(OutageBegun(redact(self.dsn), why[-1]))

    def connected(self, *, again: bool) -> None:
        """Notes that a new connection was made. ``again``: it replaces a connection that broke."""
        self._end(monotonic())
        if again:
            self.reconnected()

    def answered(self, begun: float) -> None:
        """Notes that a statement got an answer. If it was sent (``begun``) after the outage began, the outage is over."""
        if self.since is not None:
            self._end(begun)

    def _end(self, proven: float) -> None:
        with self._lock:
            if self.since is not None and proven > self.since:
                self._ended = monotonic()
                emit(OutageOver(self._ended - self.since))
                self.since = None


class Trouble:
    """Reports the errors of a service, each kind at most once a minute. Makes the pauses between its tries longer.

    A service is an asyncio task that repeats its work as long as the worker lives, such as the claimer.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._said: dict[str, float] = {}

    def over(self) -> None:
        self._failures = 0

    def after(self, error: Exception) -> float:
        """Reports the error, and returns the seconds to wait before the next try."""
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
    """Calls ``turn`` again and again until it is cancelled. Each call returns the seconds to wait before the next call."""
    trouble = Trouble(what)
    while True:
        try:
            pause = await turn()
            trouble.over()
        except Exception as error:  # noqa: BLE001 - it is logged
            pause = trouble.after(error)
        await asyncio.sleep(pause)


def until_back() -> AsyncRetrying:
    """Returns an iterator that tries a block again as long as the block raises ConnectionLost."""
    return AsyncRetrying(retry=retry_if_exception_type(ConnectionLost), wait=RECONNECT)
