"""What pgqueue's log lines say: the only place that words them. Where they go: log_output.py.

A line's place in the code (``%(pathname)s:%(lineno)d``) is where its fact was emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from logging import DEBUG, ERROR, INFO, WARNING
from types import TracebackType
from typing import Any, NamedTuple

from pgqueue.telemetry.events import Fact, subscribe
from pgqueue.telemetry.events import database as d
from pgqueue.telemetry.log_output import LOG
from pgqueue.text.described import TRACEBACK, plain

EMITTER = 5  # frames up from the call of the logger: log_fact, guarded, emit, and who called that

Raised = tuple[type[BaseException], BaseException, TracebackType | None]


class Line(NamedTuple):
    level: int
    text: str
    args: tuple[object, ...] = ()
    extra: Mapping[str, object] | None = None  # attributes of the log record


Wording = Callable[[Any], Line | None]  # None: nothing to say


def words(level: int, text: str, *args: str | Callable[[Any], object], extra: tuple[str, ...] = ()) -> Wording:  # fmt: skip
    """A line of that text. An argument is a field of the fact, or made of the fact."""

    def line(fact: Fact) -> Line:
        given = tuple(getattr(fact, arg) if isinstance(arg, str) else arg(fact) for arg in args)
        return Line(level, text, given, {name: getattr(fact, name) for name in extra} or None)

    return line


debug, info, warning, error = (partial(words, level) for level in (DEBUG, INFO, WARNING, ERROR))


def by(field: str, choices: Mapping[Any, Wording]) -> Wording:
    """The line that the value of that field chooses."""
    return lambda fact: choices[getattr(fact, field)](fact)


LINES: dict[type[Any], Wording] = {
    # ------------------------------------------------------------------ database
    d.OutageBegun: warning("the database went away (%s): %s; trying again until it is back", "dsn", "why"),
    d.OutageOver: warning("the database is back after %.1f s", "seconds"),
    d.ConnectionBroke: by(
        "is_silent",
        {
            silent: words(level, "the connection %r broke and is opened again: %s", "name", "why")
            for silent, level in ((True, WARNING), (False, INFO))
        },
    ),
    d.ConnectionNotClosed: debug("closing a broken connection failed"),
    d.TurnFailed: by(
        "kind",
        {
            "conflict": info(
                "%s had to wait for another transaction: %s; next try in %.2g s", "service", "why", "pause"
            ),
            "answer": error("%s failed: %s; next try in %.2g s", "service", "why", "pause"),
            "bug": error("%s failed, which is a bug; next try in %.2g s", "service", "pause"),
        },
    ),
    d.JobPassedOver: warning("job %d is passed over by statements over many: %s", "job_id", "why"),
    d.JobBuried: error("job %d (%s) is dead, undecodable: %s", "job_id", "task", "why"),
    d.JobNotBuried: error(
        "job %d stops statements over many (%s), and cannot be buried", "job_id", "why"
    ),
    d.LookoutFailed: error("waiting for results failed, which is a bug"),
    d.SettingsNotTrusted: warning(
        "%s is not read, because it belongs to another user (%d)", "path", "owner"
    ),
}  # fmt: skip

# No line: they are for other listeners.
SILENT: set[type[Any]] = set()


def log_fact(fact: Fact) -> None:
    """Writes the line of a fact, if there is something to say."""
    line = LINES[type(fact)](fact)
    if line is not None:
        _write(line, fact)


def _write(line: Line, fact: Fact) -> None:
    level, text, args, extra = line
    LOG.log(level, text, *args, exc_info=_exception(fact), extra=extra, stacklevel=EMITTER)


def _exception(fact: Any) -> BaseException | Raised | None:
    """Of what a user's code raised, a plain error of that text: to show it, logging would call that code again."""
    raised: BaseException | None = getattr(fact, "raised", None)
    if raised is None:
        bug: BaseException | None = getattr(fact, "bug", None)
        return bug
    shown = plain(raised)
    return type(shown), shown, TRACEBACK.__get__(raised)


def begin() -> None:
    """To be called once, when the package is imported."""
    for kind in LINES:
        subscribe(kind, log_fact)
