"""``chain`` and ``group``: values that say which jobs follow each other, and which run at the same time. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Union

from pgqueue.errors import InvalidWorkflowError
from pgqueue.model.new_job import NewJob
from pgqueue.text.values import with_article

Piece = Union[NewJob, "Chain", "Group"]


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """Jobs that run one after the other. ``chain`` makes it."""

    pieces: tuple[Piece, ...]
    name: str | None = None

    def then(self, piece: Piece) -> Chain:
        """Returns a chain of this and ``piece``, which runs when this has completed."""
        return Chain((self, checked(piece)))

    def __repr__(self) -> str:
        return f"<Chain of {len(self.pieces)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Group:
    """Jobs that run at the same time. ``group`` makes it."""

    pieces: tuple[Piece, ...]
    name: str | None = None

    def then(self, piece: Piece) -> Chain:
        """Returns a chain of the group and ``piece``, which runs once, when all jobs of the group have completed."""
        return Chain((self, checked(piece)))

    def __repr__(self) -> str:
        return f"<Group of {len(self.pieces)}>"


def chain(*pieces: Piece | Iterable[Piece], name: str | None = None) -> Chain:
    """Returns jobs that run one after the other: ``chain(a.job(1), group(b.job(i) for i in ids), c.job())``.

    Each piece is a job made by ``task.job(…)``, a chain or a group. Instead of several pieces, one iterable of pieces can be given. ``name``:
    it stands before the names of the chain's nodes, with a dot.

    A piece runs when the piece before it has completed. In its handler, ``job.results()`` gives what the piece before it returned. Celery's
    canvas has the same words.

    Raises InvalidWorkflowError if there is no piece, or if a piece is something else.
    """
    found = _pieces(pieces)
    if not found:
        raise InvalidWorkflowError(
            "The chain has no jobs.", do="give at least one job; only a group can be empty"
        )
    return Chain(found, name)


def group(*pieces: Piece | Iterable[Piece], name: str | None = None) -> Group:
    """Returns jobs that run at the same time: ``group(resize.job(i) for i in ids)``.

    The pieces are as in ``chain``. A group can be empty: then what follows runs as if all had completed. ``name``: the name of the group's own
    node. It also stands before the names of the group's other nodes, with a dot.

    Raises InvalidWorkflowError if a piece is something else.
    """
    return Group(_pieces(pieces), name)


def _pieces(given: Sequence[Piece | Iterable[Piece]]) -> tuple[Piece, ...]:
    if (
        len(given) == 1
        and not isinstance(given[0], NewJob | Chain | Group)
        and isinstance(given[0], Iterable)
    ):
        return tuple(map(checked, given[0]))
    return tuple(map(checked, given))


def checked(piece: object) -> Piece:
    """Returns the piece. Raises InvalidWorkflowError if it is no job, no chain and no group."""
    if isinstance(piece, NewJob | Chain | Group):
        return piece
    raise InvalidWorkflowError(
        f"A workflow was given {with_article(piece)}.", do="give jobs made by task.job(…), chains or groups"
    )
