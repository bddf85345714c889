"""``Who`` is the caller of a request: its name, its role, the tasks that it may enqueue and the queues that it may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from pgqueue.errors import InvalidSettingError, NotAllowedError
from pgqueue.model.names import check_name
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

MOST_PATTERNS = 100  # patterns of one caller
LONGEST_NAME = 64


class Role(IntEnum):
    """What a caller may do. Each role may do all that the roles before it may do.

    ``viewer`` reads. ``operator`` also changes jobs, retries and cancels workflows and batches, resolves alerts and undoes actions. ``admin``
    also changes queues, limits and schedules. No role includes the right to enqueue: ``Who.tasks`` gives it.
    """

    viewer = 1
    operator = 2
    admin = 3

    @classmethod
    def named(cls, word: object, where: str = "role") -> Role:
        """Returns the role of this name. Raises InvalidSettingError if there is none. ``where``: what gave the name."""
        if isinstance(word, str) and word in cls.__members__:
            return cls[word]
        raise InvalidSettingError(f"{where} is {shown(word)}.", do=rather(word, list(cls.__members__)))


@dataclass(frozen=True, slots=True)
class Who:
    """A caller. ``name``: who it is, for the audit. ``tasks``: patterns of the tasks that it may enqueue. ``queues``: of those it may see.

    In a pattern, ``*`` stands for any text: ``mail.*``. Without patterns, the caller may enqueue no task, or see no queue.
    """

    name: str
    role: Role = Role.viewer
    tasks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if (
            not isinstance(self.name, str)
            or not self.name.isprintable()
            or not 0 < len(self.name) <= LONGEST_NAME
        ):
            raise InvalidSettingError(
                f"A caller's name is {shown(self.name)}.", do=f"use 1 to {LONGEST_NAME} visible characters"
            )
        object.__setattr__(self, "role", Role.named(getattr(self.role, "name", self.role)))
        for kind, given in (("task", self.tasks), ("queue", self.queues)):
            object.__setattr__(self, f"{kind}s", checked_patterns(given, f"{kind}s of {self.name}", kind))

    def may(self, role: Role) -> bool:
        """Whether the caller's role is at least ``role``."""
        return self.role >= role

    def require(self, role: Role, what: str) -> None:
        """Raises NotAllowedError if the caller's role is lower than ``role``. ``what``: the act, as in ``cancel jobs``."""
        if not self.may(role):
            raise NotAllowedError(
                f"{self.name} may not {what}.",
                why=f"the role is {self.role.name}, and this needs {role.name}",
                do=f"use a token whose role is {role.name}",
            )

    def may_enqueue(self, task: str) -> bool:
        return fits(task, self.tasks)

    def may_see(self, queue: str) -> bool:
        return fits(queue, self.queues)

    @property
    def sees_all(self) -> bool:
        """Whether the caller may see every queue, so that a query needs no condition."""
        return "*" in self.queues

    @property
    def queue_patterns(self) -> list[str] | None:
        """The queues that the caller may see, as patterns of LIKE; None: all."""
        return None if self.sees_all else [_like(pattern) for pattern in self.queues]


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns. ``*`` stands for any text; all other characters stand for themselves."""
    return any(_fits(name, pattern) for pattern in patterns)


def _like(pattern: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%")


def _fits(name: str, pattern: str) -> bool:
    """Compares part by part, because a regular expression with many ``*`` could take very long."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *middle, last = others
    if not (name.startswith(first) and name.endswith(last) and len(name) >= len(first) + len(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def checked_patterns(given: object, what: str, kind: str) -> tuple[str, ...]:
    """Returns the patterns as a tuple. Raises InvalidSettingError if one of them can fit no name of a ``task`` or a ``queue`` (``kind``)."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidSettingError(
            f"{what} is {shown(given)}.", do='give a list of patterns, such as ["mail.*"]'
        )
    patterns = tuple(given)
    if len(patterns) > MOST_PATTERNS:
        raise InvalidSettingError(f"{what} has {len(patterns)} patterns.", do=f"give at most {MOST_PATTERNS}")
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise InvalidSettingError(
                f"{what} has the pattern {shown(pattern)}.", do="give texts such as mail.*"
            )
        check_name(kind, re.sub(r"\*+", "_", pattern))
    return patterns
