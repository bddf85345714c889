"""Where pgqueue's lines go: to what the user has configured, or else to stderr, each with a time in ISO and its zone.

What the user has configured is the user's code, and may raise anything. A line that it fails for is lost, and nothing else.
What the lines say: log.py.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from pgqueue.telemetry.guard import Failure, guarded
from pgqueue.text.shown import Cleaning

LOG = logging.getLogger("pgqueue")
# Of the libraries that a worker runs on, which log in the middle of its loop and of its connections.
OTHERS = ("asyncio", "concurrent.futures", "psycopg", "psycopg.pool", "py.warnings")
_chosen: list[int] = []  # the level that a command line asked for, if one did


class Guarded(logging.Logger):
    """A logger whose calls raise nothing, whatever its filters, handlers and record factory raise.

    A handler that logs here again, for the line that it handles, is not called for that.
    """

    def findCaller(self, stack_info: bool = False, stacklevel: int = 1) -> tuple[str, int, str, str | None]:  # noqa: N802 - logging's name
        return super().findCaller(stack_info, stacklevel + 3)  # this, and the guarded call

    def handle(self, record: logging.LogRecord) -> None:
        if _handling.now:
            return
        try:
            _handling.now = True
            super().handle(record)
        finally:
            _handling.now = False


class Handling(threading.local):
    now = False


_handling = Handling()


def _guarded(name: str) -> Callable[..., None]:
    def call(self: Guarded, *args: object, **kwargs: object) -> None:
        guarded(_failure, getattr(super(Guarded, self), name), *args, **kwargs)

    return call


for _name in ("debug", "info", "warning", "error", "critical", "log"):
    setattr(Guarded, _name, _guarded(_name))

_failure = Failure("the configured logging failed, and lines of the log are lost")


class NeverDisabled(Guarded):
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
    _make(LOG, NeverDisabled)
    LOG.addFilter(Cleaning())


def guard_others() -> None:
    """To be called in a process that is a worker's, which must not end by a line of a library."""
    for name in OTHERS:
        _make(logging.getLogger(name), Guarded)


def _make(logger: logging.Logger, kind: type[Guarded]) -> None:
    """Gives a logger that is there already a class, beside that which the user may have chosen."""
    if type(logger) is logging.Logger:
        logger.__class__ = kind
    elif not isinstance(logger, kind):
        logger.__class__ = type(kind.__name__, (kind, type(logger)), {})


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
