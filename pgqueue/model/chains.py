"""``chain`` and ``group``: values that say which jobs follow each other, and which run at the same time. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from pgqueue.errors import InvalidWorkflowError
from pgqueue.model.new_job import NewJob
from pgqueue.text.values import kind_of

Part = Union[NewJob, "Chain", "Group"]


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """Jobs that run one after the other. ``chain`` makes it."""

    parts: tuple[Part, ...]
    name: str | None = None

    def then(self, part: Part) -> Chain:
        """Returns a chain of this and ``part``, which runs when this has completed."""
        return Chain((self, checked(part)))

    def __repr__(self) -> str:
        return f"<Chain of {len(self.parts)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Group:
    """Jobs that run at the same time. ``group`` makes it."""

    parts: tuple[Part, ...]
    name: str | None = None

    def then(self, part: Part) -> Chain:
        """Returns a chain of the group and ``part``, which runs once, when all jobs of the group have completed."""
        return Chain((self, checked(part)))

    def __repr__(self) -> str:
        return f"<Group of {len(self.parts)}>"


def chain(*parts: Part | Iterable[Part], name: str | None = None) -> Chain:
    """Returns jobs that run one after the other: ``chain(a.job(1), group(b.job(i) for i in ids), c.job())``.

    Each part is a job made by ``task.job(…)``, a chain or a group. Instead of several parts, one iterable of parts can be given. ``name``:
    stands before the names of its nodes, with a dot.

    A part runs when the part before it has completed. In its handler, ``job.results()`` gives what the part before it returned. Celery's
    canvas has the same words.
    Raises InvalidWorkflowError if there is no part, or if a part is something else.
    """
    found = _parts(parts)
    if not found:
        raise InvalidWorkflowError(
            "The chain has no jobs.", do="give at least one job; only a group can be empty"
        )
    return Chain(found, name)


def group(*parts: Part | Iterable[Part], name: str | None = None) -> Group:
    """Returns jobs that run at the same time: ``group(resize.job(i) for i in ids)``.

    Parts are as in ``chain``. A group can be empty: then what follows runs as if all had completed. ``name``: the name of the group's own
    node, and stands before the names of its other nodes, with a dot.
    Raises InvalidWorkflowError if a part is something else.
    """
    return Group(_parts(parts), name)


def _parts(given: Sequence[Part | Iterable[Part]]) -> tuple[Part, ...]:
    if (
        len(given) == 1
        and not isinstance(given[0], NewJob | Chain | Group)
        and isinstance(given[0], Iterable)
    ):
        return tuple(map(checked, given[0]))
    return tuple(map(checked, given))


def checked(part: object) -> Part:
    """Returns the part. Raises InvalidWorkflowError if it is no job, no chain and no group."""
    if isinstance(part, NewJob | Chain | Group):
        return part
    raise InvalidWorkflowError(
        f"A workflow was given {kind_of(part)}.", do="give jobs made by task.job(…), chains or groups"
    )
