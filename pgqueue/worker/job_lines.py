"""Keeps the log lines that a handler writes while it runs, if its task or the worker's setting ``keep_logs`` asks for this.

A handler of ``logging`` takes the lines and puts them into the buffer of the worker, or of the child process. It never waits: what is too
much is left out. The worker writes the buffer once a second (running/progress_writer.py). A child process sends its buffer to the worker.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from pgqueue.app.app import App
from pgqueue.model.options import LEVELS, NO_LEVEL
from pgqueue.model.redaction import masked
from pgqueue.telemetry.captured import Captured, passed_on
from pgqueue.telemetry.job_context import running
from pgqueue.text.described import clean
from pgqueue.text.shown import visible
from pgqueue.worker.attempt import Attempt

LINE_LIMIT = 4_000  # the middle of a longer line is cut out; in characters
IN_SECOND, IN_ATTEMPT = 100, 1_000  # lines of one attempt; more lines are left out
ROOM = 20_000  # lines in the buffer; if the database is away, more lines are left out


class Line(NamedTuple):
    """A line as add_job_lines.sql stores it. ``at``: seconds since 1970."""

    job_id: int
    attempt: int
    at: float
    level: str
    logger: str
    text: str


class LineBuffer:
    """The lines that are not written yet. Each thread can add lines."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()

    def add(self, lines: Iterable[Line]) -> None:
        if len(self._lines) < ROOM:
            self._lines.extend(lines)

    def take(self, most: int) -> list[Line]:
        """Removes up to ``most`` lines, and returns them."""
        return [self._lines.popleft() for _ in range(min(most, len(self._lines)))]

    def give_back(self, lines: list[Line]) -> None:
        """Puts lines back that could not be written."""
        if len(self._lines) < ROOM:
            self._lines.extendleft(reversed(lines))


class KeptLines:
    """What one attempt has kept so far."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._secrets = attempt, attempt.secrets()
        self._lock = threading.Lock()
        self._count = self._in_second = 0
        self._second = 0

    def line(self, captured: Captured) -> list[Line]:
        """Returns the line to keep, or none if there are too many. The last line that fits says that others are left out."""
        with self._lock:
            if self._second != int(captured.at):
                self._second, self._in_second = int(captured.at), 0
            self._in_second += 1
            if self._in_second > IN_SECOND or self._count >= IN_ATTEMPT:
                return []
            self._count += 1
            is_last = self._in_second == IN_SECOND or self._count == IN_ATTEMPT
            until = " until the next second" if self._count < IN_ATTEMPT else ""
        # Outside the lock, because the text can come from code of the user, which can log, too.
        text = (
            f"(there are too many lines: some are left out from here on{until})"
            if is_last
            else captured.text()
        )
        said = clean(visible(masked(text, self._secrets), lines=True), LINE_LIMIT)
        logger = clean(visible(captured.logger), 200)
        return [Line(self._attempt.id, self._attempt.attempt, captured.at, captured.level[:20], logger, said)]


def usual_level(*, keep_logs: bool) -> int | None:
    """Returns the level from which on a worker with this setting keeps the lines of tasks that have no level of their own."""
    return LEVELS["INFO"] if keep_logs else None


def take(
    captured: Captured, usual: int | None = None, is_mine: Callable[[int], bool] = lambda _: True
) -> None:
    """Keeps a line for each attempt for which it was written, if the attempt has not ended, and if lines of this level are kept.

    ``usual``: the level for tasks that have none; None: their lines are not kept. ``is_mine``: whether to keep lines for the worker of
    this id.
    """
    here = running.get()
    if here is None:
        return
    for attempt in (here,) if isinstance(here, Attempt) else getattr(here, "attempts", ()):
        keeper, spec = attempt.keeper, attempt.spec
        if keeper is None or spec is None or not is_mine(attempt.worker_id):
            continue
        level = usual if spec.keep_logs is None else spec.keep_logs
        if level is None or captured.number < level:
            continue
        if attempt.kept is None:
            attempt.kept = KeptLines(attempt)
        keeper.lines.add(attempt.kept.line(captured))


@contextmanager
def kept_lines(
    app: App, usual: int | None = None, is_mine: Callable[[int], bool] = lambda _: True
) -> Iterator[None]:
    """During the block, keeps the lines of handlers, if a task of the app or ``usual`` asks for this (see ``take``)."""
    asked = {usual, *(task.spec.keep_logs for task in app.tasks.values())} - {NO_LEVEL}
    levels = [level for level in asked if level is not None]
    with passed_on(min(levels), partial(take, usual=usual, is_mine=is_mine)) if levels else nullcontext():
        yield
