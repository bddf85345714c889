"""A line of a page, and the marks of states. A state has a mark as well as a colour, so that people without colours see it, too."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import chop_cells
from rich.text import Text

from pgqueue.text.shown import visible
from pgqueue.ui.reading.page import Kind, Table
from pgqueue.ui.reading.written import cell, mark

# For each mark of reading/written.py: its character and its colour. The characters are those of `pgq workflows show`.
MARKS = {
    "pending": ("○", "cyan"), "scheduled": ("◌", "cyan"), "running": ("▶", "blue"), "retrying": ("↻", "yellow"), "waiting": ("·", "magenta"),
    "completed": ("✓", "green"), "cancelled": ("⊘", "bright_black"), "dead": ("✗", "red"), "paused": ("‖", "yellow"), "warn": ("!", "yellow"),
    "error": ("▲", "red"), "info": ("i", "blue"), "other": ("▪", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page. ``at``: what it is about; the cursor can stand on such a line, and finds it again after an update.

    ``to``: the path that Enter opens. ``table`` and ``id``: the row of a table that can be ticked. ``folds``: the document that Enter opens
    and closes.
    """

    text: Text
    at: tuple[str, object] | None = None
    to: str | None = None
    table: Table | None = None
    id: object = None
    folds: str | None = None


def marked(word: object) -> Text:
    """Returns a word for a state with its mark."""
    sign, colour = MARKS[mark(word)]
    return Text(f"{sign} {visible(str(word))}", colour)


def cell_text(value: object, kind: Kind) -> Text:
    """Returns a value as a person reads it on one line; a state has its mark."""
    if kind in ("state", "flag") and value not in (None, ""):
        return marked(value)
    return Text(cell(value, kind))


def title(text: str, note: str = "") -> Line:
    return Line(Text.assemble((visible(text), "bold"), (f"  {visible(note)}" if note else "", "dim")))


def wrapped(text: str, width: int, style: str = "") -> Iterator[Line]:
    """Yields the text in lines that are broken between words, if the words are short enough."""
    for line in visible(text, lines=True).split("\n"):
        for part in textwrap.wrap(line, width) or [""]:
            yield from chopped(part, width, style)


def chopped(text: str, width: int, style: str = "") -> Iterator[Line]:
    """Yields the text in lines that are as long as the terminal is wide. No blank is lost."""
    for part in chop_cells(text, width) or [""]:
        yield Line(Text(part, style))
