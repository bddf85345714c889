"""Captures log lines of all loggers while a block runs: for a replay, and for jobs that keep their lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from pgqueue.telemetry.log_output import LOG, Aside, Own, is_configured
from pgqueue.text.described import describe

Keep = Callable[[str, str, str], object]


class Capturing(logging.Handler):
    def __init__(self, keep: Keep) -> None:
        super().__init__(logging.INFO)
        self._keep = keep

    def emit(self, record: logging.LogRecord) -> None:
        self._keep(record.levelname, record.name, line_of(record))


def line_of(record: logging.LogRecord) -> str:
    """Returns the message of a record, and its error in one line. Raises no error."""
    try:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {describe(record.exc_info[1])}"
    except BaseException as error:  # noqa: BLE001 - an argument of the line can be of a user's class
        text = f"(the line cannot be shown: {describe(error)})"
    return text


@contextmanager
def captured(keep: Keep) -> Iterator[None]:
    """Calls ``keep`` with the level, the logger's name and the text of each line. In the block, lines of level INFO are not dropped."""
    root, capturing = logging.getLogger(), Capturing(keep)
    loggers = [root] if LOG.propagate else [root, LOG]
    before = root.level
    root.setLevel(min(before, logging.INFO) if before else logging.INFO)
    for logger in loggers:
        logger.addHandler(capturing)
    try:
        yield
    finally:
        root.setLevel(before)
        for logger in loggers:
            logger.removeHandler(capturing)


class Captured(NamedTuple):
    """A record of a logger. ``at``: seconds since 1970. ``number``: its level as a number. ``text`` returns its message."""

    at: float
    number: int
    level: str
    logger: str
    text: Callable[[], str]


class Passing(Aside):
    def __init__(self, take: Callable[[Captured], object]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != LOG.name and not record.name.startswith(f"{LOG.name}."):
            self._take(
                Captured(
                    record.created, record.levelno, record.levelname, record.name, partial(line_of, record)
                )
            )


@contextmanager
def passed_on(level: int, take: Callable[[Captured], object]) -> Iterator[None]:
    """During the block, calls ``take`` with each record of all loggers, except those of pgqueue.

    The levels of loggers stay as the user has set them. But if logging is not configured at all, the level of the root logger is lowered to
    ``level``. Then no other handler gets these lines.
    """
    root, passing = logging.getLogger(), Passing(take)
    before = root.level
    own = [
        handler for handler in root.handlers if isinstance(handler, Own) and handler.level == logging.NOTSET
    ]
    if before == logging.WARNING and not is_configured(root):
        root.setLevel(min(level, before))
        for handler in own:
            handler.setLevel(before)
    root.addHandler(passing)
    try:
        yield
    finally:
        root.removeHandler(passing)
        root.setLevel(before)
        for handler in own:
            handler.setLevel(logging.NOTSET)
