"""What other modules must know of the nodes of a workflow: the result that a later node takes, and how a node has ended. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pgqueue.errors import InvalidArgumentsError

When = Literal["completed", "ended", "failed"]
OnFailure = Literal["cancel", "stop", "continue"]
WHENS: tuple[When, ...] = ("completed", "ended", "failed")
ON_FAILURES: tuple[OnFailure, ...] = ("cancel", "stop", "continue")
RESULTS_AT_ONCE = 100  # results of nodes that one statement reads; each can have 64 KiB


class Named(Protocol):
    @property
    def name(self) -> str: ...


class NodeResult:
    """The result that a node of a workflow will have. It can stand as an argument of a later job: ``charge.job(7, ref=held.result)``.

    The database puts the result into the argument when the later node is released. Until then nothing is known of the result, so it has no
    text and no truth: an f-string or an ``if`` with it would be a mistake that nobody sees.
    """

    __slots__ = ("node",)

    def __init__(self, node: Named) -> None:
        self.node = node

    def __repr__(self) -> str:
        return f"<result of node {self.node.name}>"

    def __str__(self) -> str:
        raise self._unknown("made into text")

    def __bool__(self) -> bool:
        raise self._unknown("tested")

    def _unknown(self, what: str) -> InvalidArgumentsError:
        return InvalidArgumentsError(
            f"The result of node {self.node.name} is {what}, but it exists only when the node has completed.",
            do="pass it as a whole argument of a later job, and use it in the handler of that job",
        )


def of_a_workflow(task: str, result: NodeResult) -> InvalidArgumentsError:
    """Returns the error for a job that takes the result of a node, but is stored outside of the workflow."""
    return InvalidArgumentsError(
        f"A job of task {task} takes the result of node {result.node.name}, but is no node of that workflow.",
        do="add it to the workflow: w.add(task.job(…))",
    )


def refuse_results(task: str, given: Mapping[str, object]) -> None:
    """Raises InvalidArgumentsError if an argument is the result of a node, or contains it."""
    for name, value in given.items():
        if isinstance(value, NodeResult):
            raise of_a_workflow(task, value)
        if (inner := next(_results_in(value), None)) is not None:
            raise InvalidArgumentsError(
                f"The argument {name!r} of task {task} contains the result of node {inner.node.name}.",
                why="only a whole argument can be the result of a node",
                do="give each result as an argument of its own, or take the result of a group, which is a list",
            )


def _results_in(value: object) -> Iterator[NodeResult]:
    """Yields the results of nodes inside lists and dicts."""
    stack, seen = [value], set[int]()
    while stack:
        one = stack.pop()
        if isinstance(one, NodeResult):
            yield one
        elif isinstance(one, list | tuple | dict) and id(one) not in seen:
            seen.add(id(one))
            stack.extend(one.values() if isinstance(one, dict) else one)


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """How a node of a workflow has ended. ``state``: completed, dead or cancelled; the state of its job if it is still open.

    ``result``: what its handler returned. ``error``: its last error, or why it was cancelled.
    """

    id: int
    name: str
    state: str
    result: Any = field(default=None, repr=False)
    error: str | None = field(default=None, repr=False)
