"""Decides where pgqueue's log lines go: to the handlers that the user has configured.

If there are no such handlers, the lines go to stderr, and each line begins with the time in ISO format, with its time zone. With
``--log-format json``, each line is a JSON object. With ``json`` or ``text``, the lines of all other loggers go to stderr in the same form,
too, if the user has configured no handler.
A configured handler is the user's code, and can raise any exception. If it raises one, only that line is lost.
The texts of the lines are in the folder lines/.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from pgqueue.telemetry.guard import Failure, guarded
from pgqueue.telemetry.job_context import OwnFields, current_job
from pgqueue.text.shown import Cleaning, visible

LOG = logging.getLogger("pgqueue")
# The loggers of libraries that run the worker's loop and connections.
OTHERS = ("asyncio", "concurrent.futures", "psycopg", "psycopg.pool", "py.warnings")
# psycopg's pools warn of each connection that they drop or cannot open. pgqueue's own lines and errors say the same, once.
POOLS = logging.getLogger("psycopg.pool")
_formats: list[str] = ["auto"]  # the last one is the format that the settings ask for
_chosen: list[int] = []  # the log level that the command line asked for; empty if it asked for none


class Guarded(logging.Logger):
    """A logger whose calls never raise an exception, even if its filters, handlers or record factory raise one.

    If a handler itself logs to such a logger while it handles a line, the new line is dropped.
    """

    def findCaller(self, stack_info: bool = False, stacklevel: int = 1) -> tuple[str, int, str, str | None]:  # noqa: N802 - logging's name
        return super().findCaller(stack_info, stacklevel + 3)  # skips this method and the guarded call

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

_failure = Failure("the configured logging failed, and log lines are lost")


class NeverDisabled(Guarded):
    """A logger that cannot be disabled. By default, dictConfig and fileConfig disable existing loggers."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None: ...


class Aside(logging.Handler):
    """A handler of pgqueue that keeps lines for another purpose. It does not count as a handler that the user has configured."""


class Own(logging.StreamHandler):  # type: ignore[type-arg]
    """pgqueue's own handler of a logger. It drops all lines as soon as a handler of the user gets them, so that no line is shown twice."""

    def __init__(self, logger: logging.Logger = LOG, level: int = logging.NOTSET) -> None:
        super().__init__(sys.stderr)
        self._logger = logger
        self.setLevel(level)
        self.choose_formatter()

    def choose_formatter(self) -> None:
        is_ours = self._logger is not logging.getLogger()
        text: logging.Formatter = (
            Lines("%(asctime)s %(levelname)-7s %(message)s") if is_ours else LinesOfOthers()
        )
        if chosen_format() == "json":
            # Not at the top, because it imports json, which few programs need here.
            from pgqueue.telemetry.json_lines import JsonFormatter  # noqa: PLC0415

            text = JsonFormatter()
        self.setFormatter(text)

    def filter(self, record: logging.LogRecord) -> bool:
        return not is_configured(self._logger) and bool(super().filter(record))


class Lines(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        return moment.strftime(datefmt) if datefmt else moment.isoformat(timespec="milliseconds")


class LinesOfOthers(Lines):
    """Formats the lines of the loggers of users and libraries, with the name of the logger and the job for which the line was written."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line, job = visible(super().formatMessage(record)), current_job()
        if job is None:
            return line
        which = f"job {job.job_id}" if job.job_id is not None else f"{len(job.job_ids)} jobs"
        return f"{line} [{which}, {job.task}]"


def begin() -> None:
    """Prepares pgqueue's logger. The import of ``pgqueue.telemetry`` calls this once."""
    _make(LOG, NeverDisabled)
    LOG.addFilter(Cleaning())
    LOG.addFilter(OwnFields())


def guard_others() -> None:
    """Makes sure that an error in a log line of another library does not end the process. It is called in a worker's process."""
    for name in OTHERS:
        _make(logging.getLogger(name), Guarded)


def _make(logger: logging.Logger, kind: type[Guarded]) -> None:
    """Changes the class of an existing logger to ``kind``. If the logger has a class of the user, makes a class that inherits from both."""
    if type(logger) is logging.Logger:
        logger.__class__ = kind
    elif not isinstance(logger, kind):
        logger.__class__ = type(kind.__name__, (kind, type(logger)), {})


def is_configured(logger: logging.Logger = LOG) -> bool:
    """Returns whether the user has configured a handler that gets the lines of the logger."""
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, Own | Aside) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False


def choose(level: int | None) -> None:
    """Stores the log level that a command line asks for. ``set_up`` then uses it, even if the user's configuration has another level."""
    if level is not None:
        _chosen[:] = [level]


def chosen() -> int:
    """Returns the log level that the command line asked for, or 0 if it asked for none."""
    return _chosen[-1] if _chosen else 0


def choose_format(name: str) -> None:
    """Stores the format that the settings ask for: auto, text or json."""
    _formats[:] = [name]


def chosen_format() -> str:
    return _formats[-1]


def set_up() -> None:
    """Adds pgqueue's own handlers. Call this after the user's code had the chance to configure logging."""
    root = logging.getLogger()
    if (
        chosen_format() != "auto"
        and not is_configured(root)
        and not any(isinstance(one, Own) for one in root.handlers)
    ):
        of_others = Own(root)
        of_others.addFilter(Cleaning())
        of_others.addFilter(_is_of_others)
        root.addHandler(of_others)
    if not any(isinstance(handler, Own) for handler in LOG.handlers):
        LOG.addHandler(Own())
        of_pools = Own(POOLS, logging.ERROR)
        of_pools.addFilter(Cleaning())
        POOLS.addHandler(of_pools)
    for logger in (root, LOG, POOLS):
        for handler in logger.handlers:
            if isinstance(handler, Own):
                handler.choose_formatter()
    if _chosen:
        LOG.setLevel(_chosen[-1])
    elif not is_configured() and LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Returns whether no handler of pgqueue's own loggers has written the record already."""
    return record.name not in (LOG.name, POOLS.name)
