"""Where pgqueue's lines go: to what the user has configured, or else to stderr, each with a time in ISO and its zone."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from pgqueue.shown import Cleaning

LOG = logging.getLogger("pgqueue")
_chosen: list[int] = []  # the level that a command line asked for, if one did


class Heard(logging.Logger):
    """A logger that is never disabled: dictConfig and fileConfig do that by default, even years into a process."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None: ...


class Own(logging.StreamHandler):  # type: ignore[type-arg]
    """Silent as soon as the user's handlers get the lines, so that none is shown twice."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(Lines("%(asctime)s %(levelname)-7s %(message)s"))

    def filter(self, record: logging.LogRecord) -> bool:
        return not is_configured() and bool(super().filter(record))


class Lines(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        return moment.strftime(datefmt) if datefmt else moment.isoformat(timespec="milliseconds")


def begin() -> None:
    """Prepares pgqueue's logger. To be called once, when the package is imported."""
    if type(LOG) is logging.Logger:
        LOG.__class__ = Heard
    else:  # of a class that the user has chosen
        LOG.__class__ = type("Heard", (Heard, type(LOG)), {})
    LOG.addFilter(Cleaning())


def is_configured() -> bool:
    """Whether the user has said where lines go."""
    others = any(not isinstance(handler, Own) for handler in LOG.handlers)
    return others or (LOG.propagate and bool(logging.getLogger().handlers))


def choose(level: int | None) -> None:
    """Sets the level that a command line asks for, which goes before the user's configuration."""
    if level is not None:
        _chosen[:] = [level]


def chosen() -> int:
    """The level that the command line asked for; 0: none."""
    return _chosen[-1] if _chosen else 0


def set_up() -> None:
    """Adds pgqueue's own handler. To be called after the user's code could configure logging."""
    if not any(isinstance(handler, Own) for handler in LOG.handlers):
        LOG.addHandler(Own())
    if _chosen:
        LOG.setLevel(_chosen[-1])
    elif not is_configured() and LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)
