"""What a replay has seen: statements, rows, steps, log lines, and how the handler ended. This module does no I/O."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from pgqueue.database.statements.replay import Write
from pgqueue.errors import WrongConnectionError
from pgqueue.runtime.clock import monotonic
from pgqueue.text.described import clean, describe

STATEMENT_LIMIT = 2_000  # the middle of a longer statement is cut out; in characters
MOST = 10_000  # at most this many statements are kept, and as many log lines

Ended = Literal["returned", "completed", "raised", "stopped", "timed out", "interrupted"]


@dataclass(slots=True)
class Ran:
    """A statement of the handler. ``rows``: how many rows it has returned or changed; None: the driver does not say."""

    connection: str
    text: str
    rows: int | None = None
    seconds: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class StepTaken:
    """A step, or a sleep or a wait that is over.

    ``how``: ``stored`` if an earlier attempt has stored its value, ``called`` if the replay has called its function.
    """

    name: str
    key: str
    how: Literal["stored", "called", "saved"]


@dataclass(slots=True)
class Logged:
    level: str
    logger: str
    text: str


@dataclass(slots=True)
class Session:
    """What one connection has written. ``note``: why that cannot be read, or an empty text."""

    connection: str
    writes: list[Write]
    note: str = ""


@dataclass(slots=True)
class Findings:
    """``sentence`` says how the replay ended. ``state``, ``reason`` and ``delay``: the outcome that a worker would write; None: none.

    ``value``: the JSON text of the result. ``unended``: the names of the handler's threads that still run.
    """

    ended: Ended = "returned"
    sentence: str = ""
    state: str | None = None
    reason: str | None = None
    delay: float | None = None
    value: str | None = None
    error: str | None = None
    traceback: str | None = None
    progress: object = None
    seconds: float = 0.0
    statements: list[Ran] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    steps: list[StepTaken] = field(default_factory=list)
    log: list[Logged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)


class ReplayStopped(BaseException):
    """Raised inside the handler where the replay ends early. It is a BaseException, so that ``except Exception`` does not catch it."""


def ended_by_handler() -> WrongConnectionError:
    return WrongConnectionError(
        "The handler has ended the transaction itself, and a replay cannot go on without it.",
        do="leave commit and rollback to the connection's methods, or to the end of the block",
    )


class Notes:
    """Collects what a replay finds while the handler runs. Threads of the handler can use it at the same time."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.stopped: list[str] = []  # the sentences with which the replay was stopped
        self.is_over = False
        self._lock = threading.Lock()

    def stop(self, sentence: str) -> NoReturn:
        """Ends the replay: raises ReplayStopped."""
        with self._lock:
            if sentence not in self.stopped and not self.is_over:
                self.stopped.append(sentence)
        raise ReplayStopped(sentence)

    def check(self) -> None:
        """Raises ReplayStopped again if the handler goes on although the replay has ended."""
        if self.stopped or self.is_over:
            raise ReplayStopped(self.stopped[0] if self.stopped else "The replay is over.")

    def ran(self, one: Ran) -> None:
        one.text = clean(one.text.strip(), STATEMENT_LIMIT)
        with self._lock:
            if len(self.findings.statements) < MOST:
                self.findings.statements.append(one)

    def stepped(self, name: str, key: str, how: Literal["stored", "called", "saved"]) -> None:
        with self._lock:
            self.findings.steps.append(StepTaken(name, key, how))

    def logged(self, level: str, logger: str, text: str) -> None:
        with self._lock:
            if len(self.findings.log) < MOST and not self.is_over:
                self.findings.log.append(Logged(level, logger, clean(text, STATEMENT_LIMIT)))

    @contextmanager
    def timed(self, connection: str, text: str) -> Iterator[Ran]:
        """Notes a statement that the block runs. The block sets ``rows``."""
        one, begun = Ran(connection, text), monotonic()
        try:
            yield one
        except BaseException as error:
            one.error = describe(error)
            raise
        finally:
            one.seconds = monotonic() - begun
            self.ran(one)
