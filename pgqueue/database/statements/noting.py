"""Statements with which operators change something. They write the action into the audit, in the same statement."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from pgqueue.sql import Row, Statement, load_chosen

T = TypeVar("T")
Source = Literal["sql", "cli", "web", "api", "tui", "mcp"]


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts. ``undo_for``: for how many seconds the action can be undone; at most 30 days."""

    actor: str
    source: Source
    undo_for: float = 3600.0

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Noted(NamedTuple):
    """What a statement of an operator did. ``was_found``: what it is about exists. ``audit_id``: None: it changed nothing, so it noted nothing."""

    was_found: bool
    audit_id: int | None


def as_noted(made: Statement[Any]) -> Statement[Noted]:
    """Returns the statement, which was made with a ``who``, so that its answer is what was noted: the last column of each such file."""

    def decode(rows: Sequence[Row]) -> Noted:
        return Noted(rows[0][0] is not None, rows[0][-1]) if rows else Noted(False, None)

    return Statement(made.name, made.text, made.parameters, decode)


def noted(
    name: str, who: Who | None, decode: Callable[[Sequence[Row]], T], /, **parameters: object
) -> Statement[T]:
    """Makes a statement that writes the audit if ``who`` is given. Without it, an application acts, and nothing is written."""
    if who is None:
        return Statement(name, load_chosen(name, frozenset()), parameters, decode)
    text = load_chosen(name, frozenset({"noted"}))
    return Statement(name, text, {**parameters, "who": who.as_json()}, decode)
