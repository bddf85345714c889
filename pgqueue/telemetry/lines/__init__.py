"""The texts of all log lines. Each module in this folder has the texts for one part of pgqueue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from logging import DEBUG, ERROR, INFO, WARNING
from operator import attrgetter
from typing import Any, NamedTuple

from pgqueue.telemetry.events import Fact


class Line(NamedTuple):
    level: int
    text: str
    args: tuple[object, ...] = ()


Wording = Callable[[Any], Line | None]  # makes a line from a fact, or returns None if the fact gets no line


def words(level: int, text: str, *args: str | Callable[[Any], object]) -> Wording:
    """Returns a wording with this text. Each argument is the name of a field of the fact, or a function that is called with the fact.

    The name ``run.job_id`` means the field ``job_id`` of the fact's field ``run``.
    """
    getters = [attrgetter(arg) if isinstance(arg, str) else arg for arg in args]

    def line(fact: Fact) -> Line:
        return Line(level, text, tuple(get(fact) for get in getters))

    return line


debug, info, warning, error = (partial(words, level) for level in (DEBUG, INFO, WARNING, ERROR))


def by(field: str, choices: Mapping[Any, Wording]) -> Wording:
    """Returns a wording that looks up the value of this field in ``choices``, and uses the wording that it finds there."""
    return lambda fact: choices[getattr(fact, field)](fact)


def unless(field: str, one: Wording, other: Wording) -> Wording:
    """Returns a wording that uses ``one`` if this field is None, and otherwise ``other``."""
    return lambda fact: (one if getattr(fact, field) is None else other)(fact)
