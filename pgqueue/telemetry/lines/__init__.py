"""How log lines are worded. Each module here words the lines of one part, and no other code words lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from logging import DEBUG, ERROR, INFO, WARNING
from operator import attrgetter
from typing import Any, NamedTuple

from pgqueue.telemetry.events import Fact


class Line(NamedTuple):
    level: int
    text: str
    args: tuple[object, ...] = ()
    extra: Mapping[str, object] | None = None  # attributes of the log record


Wording = Callable[[Any], Line | None]  # None: nothing to say


def words(level: int, text: str, *args: str | Callable[[Any], object], extra: Sequence[str] = ()) -> Wording:
    """A line of that text. An argument names a field of the fact (``run.job_id``: a field of its run), or is a function of the fact."""
    getters = [attrgetter(arg) if isinstance(arg, str) else arg for arg in args]
    attributes = {name.rpartition(".")[2]: attrgetter(name) for name in extra}

    def line(fact: Fact) -> Line:
        given = tuple(get(fact) for get in getters)
        return Line(level, text, given, {name: get(fact) for name, get in attributes.items()} or None)

    return line


debug, info, warning, error = (partial(words, level) for level in (DEBUG, INFO, WARNING, ERROR))


def by(field: str, choices: Mapping[Any, Wording]) -> Wording:
    """The line of that wording which the value of the field chooses."""
    return lambda fact: choices[getattr(fact, field)](fact)


def unless(field: str, one: Wording, other: Wording) -> Wording:
    """If that field is None, the line ``one``, or else the line ``other``."""
    return lambda fact: (one if getattr(fact, field) is None else other)(fact)
