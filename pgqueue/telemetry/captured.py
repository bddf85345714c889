"""Captures log lines of all loggers while a block runs, for a replay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgqueue.telemetry.log_output import LOG
from pgqueue.text.described import describe

Keep = Callable[[str, str, str], object]


class Capturing(logging.Handler):
    def __init__(self, keep: Keep) -> None:
        super().__init__(logging.INFO)
        self._keep = keep

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f": {describe(record.exc_info[1])}"
        except BaseException as error:  # noqa: BLE001 - an argument of the line can be of a user's class
            text = f"(the line cannot be shown: {describe(error)})"
        self._keep(record.levelname, record.name, text)


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
