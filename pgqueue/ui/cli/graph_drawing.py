"""Draws the levels of a workflow (graph_levels.py) as lines. Does no I/O.

Lines at the same indent, one below the other, follow each other. Branches have a line at their left side. What stands inside a group is
indented below its line. Wide groups and long chains are summarised: jobs that failed or run are shown, and the others are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pgqueue.text.counted import count
from pgqueue.ui.cli.graph_levels import Item

WIDE = 12  # siblings that are all shown
CHOSEN = 10  # siblings that are shown of more
LONG = 30  # jobs, one after the other, that are all shown
NAMES = 3  # names that a line lists
STATES = (
    "dead",
    "running",
    "retrying",
    "cancelled",
    "pending",
    "waiting",
    "completed",
)  # the first of these are shown first
NOT_RUN = "A node that it waits for did not complete."  # resolve.sql writes it; the drawing shows that anyway
QUIET = frozenset({"completed", "waiting", "cancelled"})


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a drawing. ``marks``: one for each state, so that the state can be seen without colours."""

    marks: dict[str, str]
    branch: str
    last: str
    side: str
    rest: str


FINE = Glyphs(
    {"completed": "✓", "dead": "✗", "cancelled": "⊘", "running": "▶", "retrying": "↻", "pending": "○", "waiting": "·"},
    "├─ ", "└─ ", "│  ", "…",
)  # fmt: skip
PLAIN = Glyphs(
    {"completed": "+", "dead": "x", "cancelled": "-", "running": ">", "retrying": "~", "pending": "o", "waiting": "."},
    "|- ", "`- ", "|  ", "...",
)  # fmt: skip


class Line(NamedTuple):
    """A line: what stands at its left side, the mark and the name, the state, and notes. A summary has no state."""

    indent: str
    head: str
    state: str
    notes: str


class _Step(NamedTuple):
    """``lead``: the indent of its own line; ``indent``: of the lines below. ``length``: how many jobs stand before it in a row."""

    shown: Item | Counter[str]
    lead: str
    indent: str
    length: int = 0


def drawn(top: list[Item], glyphs: Glyphs, *, whole: bool) -> Iterator[Line]:
    """Yields the lines. ``whole``: also those of wide groups and long chains."""
    stack = _steps(top, "", glyphs, 0, whole)[::-1]
    while stack:
        step = stack.pop()
        if isinstance(step.shown, Counter):
            yield _summary(step.shown, step.lead, glyphs)
            continue
        item = step.shown
        yield _line(item, step.lead, glyphs)
        length = step.length + 1
        followers = item.followers
        if not whole and length >= LONG:
            hidden, followers = _skipped(followers)
            if hidden:
                stack += _steps(followers, step.indent, glyphs, length, whole)[::-1]
                stack.append(_Step(hidden, step.indent, step.indent))
                followers = []
        stack += _steps(followers, step.indent, glyphs, length, whole)[::-1]
        stack += _steps(item.inside, step.indent + "    ", glyphs, 0, whole)[::-1]


def _steps(items: list[Item], indent: str, glyphs: Glyphs, length: int, whole: bool) -> list[_Step]:
    if len(items) == 1:
        return [_Step(items[0], indent, indent, length)]
    shown: list[Item | Counter[str]] = list(items)
    if len(items) > WIDE and not whole:
        urgent = sorted(items, key=lambda item: STATES.index(item.node.state))[:CHOSEN]
        chosen = {id(item) for item in urgent}
        shown = [item for item in items if id(item) in chosen]
        shown.append(_counted(item for item in items if id(item) not in chosen))
    ends = {len(shown) - 1}
    return [
        _Step(one, indent + (glyphs.last if at in ends else glyphs.branch), indent + ("   " if at in ends else glyphs.side))
        for at, one in enumerate(shown)
    ]  # fmt: skip


def _skipped(items: list[Item]) -> tuple[Counter[str], list[Item]]:
    """Returns how many jobs of a chain can be hidden here, by state, and what follows them. None is hidden that failed or runs."""
    hidden: Counter[str] = Counter()
    while (
        len(items) == 1
        and len(items[0].followers) == 1
        and not items[0].node.is_gate
        and items[0].node.state in QUIET
    ):
        hidden[items[0].node.state] += 1
        items = items[0].followers
    return hidden, items


def _counted(items: Iterable[Item]) -> Counter[str]:
    """Counts these jobs, what follows them and what is inside them."""
    found: Counter[str] = Counter()
    stack = list(items)
    while stack:
        item = stack.pop()
        found[item.node.state] += not item.node.is_gate
        stack += [*item.followers, *item.inside]
    return found


def _summary(hidden: Counter[str], lead: str, glyphs: Glyphs) -> Line:
    return Line(lead, f"{glyphs.rest} {count(hidden.total(), 'more job')}", "", by_state(hidden))


def by_state(counts: Counter[str]) -> str:
    """Returns ``3 completed, 2 waiting``."""
    return ", ".join(f"{counts[state]:,} {state}" for state in reversed(STATES) if counts[state])


def _line(item: Item, lead: str, glyphs: Glyphs) -> Line:
    node = item.node
    notes = []
    if node.is_gate:
        inside = item.jobs.total()
        notes.append(f"group of {count(inside, 'job')}" + (f": {by_state(item.jobs)}" if inside else ""))
    else:
        notes.append(f"{node.task}, job {node.id}" if node.task else f"job {node.id}")
        if node.needs != "completed" and not node.is_undo:
            notes.append(f"when {node.needs}")
        if node.signals:
            notes.append("waits for the signal " + " or ".join(node.signals))
    if item.others:
        more = len(item.others) - NAMES
        notes.append(
            "also after " + ", ".join(item.others[:NAMES]) + (f" and {more:,} more" if more > 0 else "")
        )
    if node.refusal:
        notes.append(node.refusal.splitlines()[0])
    elif node.state in ("dead", "cancelled") and node.error not in (None, NOT_RUN) and not node.is_gate:
        notes.append((node.error.splitlines() or [""])[0])
    return Line(lead, f"{glyphs.marks[node.state]} {node.name}", node.state, "; ".join(notes))
